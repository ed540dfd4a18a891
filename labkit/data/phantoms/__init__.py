"""Synthetic eyes and cells: drawn once, then read like real data."""
