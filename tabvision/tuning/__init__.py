"""Finding settings before training."""

from tabvision.tuning.lr_find import LRFinding, lr_find

__all__ = ["LRFinding", "lr_find"]
