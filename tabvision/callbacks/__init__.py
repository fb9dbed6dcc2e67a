"""Callbacks for any LightningModule, each of which owns one quantity.

Each name is imported on first use.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.callbacks.average_and_stop import AverageAndStop
    from tabvision.callbacks.discriminative_lr import DiscriminativeLR
    from tabvision.callbacks.exact_resume import ExactResume
    from tabvision.callbacks.fine_tune import FineTune
    from tabvision.callbacks.fit_table import FitTable
    from tabvision.callbacks.frozen_features import FrozenFeatures
    from tabvision.callbacks.mixing import CutMix, MixUp
    from tabvision.callbacks.one_cycle import CosineRestarts, FlatCosine, InverseDecay, OneCycle
    from tabvision.callbacks.progressive_resize import ProgressiveResize
    from tabvision.callbacks.unfreeze import Unfreeze

__all__ = [
    "AverageAndStop",
    "CosineRestarts",
    "CutMix",
    "DiscriminativeLR",
    "ExactResume",
    "FineTune",
    "FitTable",
    "FlatCosine",
    "FrozenFeatures",
    "InverseDecay",
    "MixUp",
    "OneCycle",
    "ProgressiveResize",
    "Unfreeze",
]

_MODULES = {
    "AverageAndStop": "average_and_stop",
    "CosineRestarts": "one_cycle",
    "CutMix": "mixing",
    "DiscriminativeLR": "discriminative_lr",
    "ExactResume": "exact_resume",
    "FineTune": "fine_tune",
    "FitTable": "fit_table",
    "FlatCosine": "one_cycle",
    "FrozenFeatures": "frozen_features",
    "InverseDecay": "one_cycle",
    "MixUp": "mixing",
    "OneCycle": "one_cycle",
    "ProgressiveResize": "progressive_resize",
    "Unfreeze": "unfreeze",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
