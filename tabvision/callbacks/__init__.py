"""Callbacks, each the owner of one quantity; they serve any LightningModule."""

from tabvision.callbacks.discriminative_lr import DiscriminativeLR
from tabvision.callbacks.exact_resume import ExactResume
from tabvision.callbacks.fine_tune import FineTune
from tabvision.callbacks.one_cycle import CosineRestarts, FlatCosine, OneCycle
from tabvision.callbacks.unfreeze import Unfreeze

__all__ = ["CosineRestarts", "DiscriminativeLR", "ExactResume", "FineTune", "FlatCosine", "OneCycle", "Unfreeze"]
