"""LightningModules: one for each kind of data, over the four steps that they share."""

from tabvision.modules.collab import CollabModule
from tabvision.modules.supervised import SupervisedModule
from tabvision.modules.tabular import TabularModule
from tabvision.modules.vision import VisionModule

__all__ = ["CollabModule", "SupervisedModule", "TabularModule", "VisionModule"]
