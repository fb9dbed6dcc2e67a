"""Callbacks, each the owner of one quantity; they serve any LightningModule."""

from tabvision.callbacks.discriminative_lr import DiscriminativeLR
from tabvision.callbacks.exact_resume import ExactResume
from tabvision.callbacks.fine_tune import FineTune
from tabvision.callbacks.mixing import CutMix, MixUp
from tabvision.callbacks.one_cycle import CosineRestarts, FlatCosine, OneCycle
from tabvision.callbacks.progressive_resize import ProgressiveResize
from tabvision.callbacks.unfreeze import Unfreeze

__all__ = [
    "CosineRestarts",
    "CutMix",
    "DiscriminativeLR",
    "ExactResume",
    "FineTune",
    "FlatCosine",
    "MixUp",
    "OneCycle",
    "ProgressiveResize",
    "Unfreeze",
]
