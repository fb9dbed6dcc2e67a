"""Numbers as pictures: one function a figure. Needs matplotlib (`pip install 'tabvision[plots]'`)."""

from tabvision.plots.lr_curve import lr_curve
from tabvision.plots.schedule import schedule

__all__ = ["lr_curve", "schedule"]
