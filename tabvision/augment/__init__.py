"""Pictures turned, cropped, lit, erased and blended: pure functions of arrays, tensors and drawn numbers."""

from tabvision.augment.settings import Augmentation, augmentation_named

__all__ = ["Augmentation", "augmentation_named"]
