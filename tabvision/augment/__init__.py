"""Rotate, crop, relight, erase and blend images: pure functions of arrays, tensors and random numbers."""

from tabvision.augment.settings import Augmentation, augmentation_named

__all__ = ["Augmentation", "augmentation_named"]
