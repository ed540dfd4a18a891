"""Scores, intervals and thresholds of predictions tables, without a model or a GPU; only `gradcam` needs a model."""
