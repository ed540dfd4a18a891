"""Synthetic eyes and cells: drawn once, then read like real data."""

from labkit.data.phantoms.make import phantom

__all__ = ["phantom"]
