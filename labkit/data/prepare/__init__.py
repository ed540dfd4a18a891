"""Raw photographs to square crops."""
