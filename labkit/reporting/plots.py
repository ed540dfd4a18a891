"""All figures of the report in one place: `from labkit.reporting import plots`. Arrays in, Figure out."""

from labkit.reporting.plots_ablation import ablation
from labkit.reporting.plots_blocks import residual_blocks
from labkit.reporting.plots_calibration import reliability_diagrams
from labkit.reporting.plots_confusion import confusion_matrices, confusion_matrix, matrix_pages, row_shares
from labkit.reporting.plots_curves import precision_recall_curves, roc_curves
from labkit.reporting.plots_data import augmentation_grid, class_histogram, image_grid
from labkit.reporting.plots_light import light
from labkit.reporting.plots_range import range_test
from labkit.reporting.plots_results import result_dots, sensitivity_dots
from labkit.reporting.plots_training import (
    cost,
    learning_curves,
    score_curves,
)
from labkit.reporting.style import Palette

__all__ = [
    "Palette",
    "ablation",
    "augmentation_grid",
    "class_histogram",
    "confusion_matrices",
    "confusion_matrix",
    "cost",
    "image_grid",
    "learning_curves",
    "light",
    "matrix_pages",
    "precision_recall_curves",
    "range_test",
    "reliability_diagrams",
    "residual_blocks",
    "result_dots",
    "roc_curves",
    "row_shares",
    "score_curves",
    "sensitivity_dots",
]
