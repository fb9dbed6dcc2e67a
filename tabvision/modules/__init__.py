"""LightningModules: one for each kind of data, over the four steps that they share."""

from tabvision.modules.supervised import SupervisedModule
from tabvision.modules.tabular import TabularModule

__all__ = ["SupervisedModule", "TabularModule"]
