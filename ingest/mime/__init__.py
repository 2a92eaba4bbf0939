"""MIME, pure: octets in, parts, decoded octets, defects and a splice program out."""
