"""Executed notebooks to HTML and PDF, and the compare page."""
