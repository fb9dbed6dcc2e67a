"""Figures of numbers: one function a figure. Needs matplotlib (`pip install 'tabvision[plots]'`)."""

from tabvision.plots.embeddings import bias_bars, embedding_map
from tabvision.plots.images import image_grid
from tabvision.plots.rates import lr_curve, schedule

__all__ = ["bias_bars", "embedding_map", "image_grid", "lr_curve", "schedule"]
