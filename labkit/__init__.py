"""Reproducible lab reports for image classifiers in medicine; the notebooks are the wiring diagram."""

__version__ = "0.1.0"
