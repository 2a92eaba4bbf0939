"""Object stores and what we keep in them: parts, commit objects, and their sweep."""
