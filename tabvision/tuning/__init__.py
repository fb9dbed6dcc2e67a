"""Find settings before training, and measure them on rows that training did not see.

Each name is imported on first use.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.tuning.callback import FindLR
    from tabvision.tuning.cross_validation import CrossValidation, cross_validate
    from tabvision.tuning.linear_probe import Probe, probe
    from tabvision.tuning.sweep import LRFinding, lr_find

__all__ = ["CrossValidation", "FindLR", "LRFinding", "Probe", "cross_validate", "lr_find", "probe"]

# No module may share a name with a function here: importing it would replace the function.
_MODULES = {
    "CrossValidation": "cross_validation",
    "FindLR": "callback",
    "LRFinding": "sweep",
    "Probe": "linear_probe",
    "cross_validate": "cross_validation",
    "lr_find": "sweep",
    "probe": "linear_probe",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
