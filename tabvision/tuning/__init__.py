"""Find settings before training, and measure them on rows that training did not see."""

from tabvision.tuning.callback import FindLR
from tabvision.tuning.cross_validation import CrossValidation, cross_validate
from tabvision.tuning.linear_probe import Probe, probe
from tabvision.tuning.sweep import LRFinding, lr_find

__all__ = ["CrossValidation", "FindLR", "LRFinding", "Probe", "cross_validate", "lr_find", "probe"]
