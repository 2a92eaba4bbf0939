"""The POP3 client protocol, pure: commands and octets in, octets and events out."""
