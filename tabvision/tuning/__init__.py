"""Find settings before training."""

from tabvision.tuning.callback import FindLR
from tabvision.tuning.sweep import LRFinding, lr_find

__all__ = ["FindLR", "LRFinding", "lr_find"]
