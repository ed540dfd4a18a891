"""Which layout a folder has, and its rows."""
