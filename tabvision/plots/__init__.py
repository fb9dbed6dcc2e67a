"""Draw figures of numbers, one function per figure."""

from tabvision.plots.embeddings import bias_bars, embedding_map
from tabvision.plots.evaluation import (
    confusion_matrix,
    effects,
    importance,
    reliability,
    residuals,
    slices,
    threshold_curves,
)
from tabvision.plots.images import image_grid, show_results, top_losses
from tabvision.plots.training import history, lr_curve, optimizer_race, schedule

__all__ = [
    "bias_bars",
    "confusion_matrix",
    "effects",
    "embedding_map",
    "history",
    "image_grid",
    "importance",
    "lr_curve",
    "optimizer_race",
    "reliability",
    "residuals",
    "schedule",
    "show_results",
    "slices",
    "threshold_curves",
    "top_losses",
]
