"""The built-in synthetic eyes and cells."""
