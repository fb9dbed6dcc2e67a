"""Finding settings before training."""

from tabvision.tuning.find_lr import FindLR
from tabvision.tuning.lr_find import LRFinding, lr_find

__all__ = ["FindLR", "LRFinding", "lr_find"]
