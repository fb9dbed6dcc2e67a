"""The settings for augmenting images in training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from tabvision.checks import DEFAULT, check_choice, finite_numbers, is_number
from tabvision.errors import BadTypeError, BadValueError, speaking

NUM_OWN_DRAWS = 16  # random numbers per row for a user's own function
_PROBABILITIES = ("flip", "flip_vertical", "transpose", "affine_share", "lighting_share", "erase")
# name: (lowest, highest, whether the highest is allowed)
_RANGES = {
    **dict.fromkeys(_PROBABILITIES, (0, 1, True)),
    "rotate": (0, 180, True),
    "shear": (0, 90, False),
    "warp": (0, 0.5, False),  # at 0.5, two corners of the image would meet
    "brightness": (0, 1, False),
    "contrast": (0, 1, False),
    "zoom": (1, math.inf, False),
    "erase_area": (0, 1, True),
}


@final
@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The augmentation of images in training; if every strength is 0 (`zoom` and `min_scale` 1), images stay unchanged.

    Each row has its own random numbers. All geometric changes are applied in a single warp.

    Args:
        flip: Probability of a horizontal flip.
        flip_vertical: Probability of a vertical flip, for images taken from above, such as by satellite.
        transpose: Probability of swapping rows and columns; with both flips at 0.5, all eight orientations occur.
        rotate: Largest rotation to either side, in degrees, in [0, 180].
        zoom: Largest magnification around a random point, at least 1.
        warp: Largest change of perspective: how far a corner moves, as a fraction of half the image, in [0, 0.5).
        shear: Largest shear to either side, in degrees, in [0, 90).
        affine_share: Probability of each of rotation, zoom, shear, and change of perspective left-right and up-down.
        brightness: Largest change: mid-gray becomes `0.5 * (1 - brightness)` to `0.5 * (1 + brightness)`, in [0, 1).
        contrast: Largest change: contrast is multiplied or divided by at least `1 - contrast`, in [0, 1).
        lighting_share: Probability of each of brightness and contrast.
        min_scale: Smallest fraction of the image's area for a random crop to show, in (0, 1].
        ratio: Smallest and largest ratio of width to height of that crop, relative to the network's input.
        erase: Probability of covering a box with noise.
        erase_area: Largest fraction of the area for the box to cover, in [0, 1].
        own: Your own function to augment each training batch on its device, after everything above except the noise of
            `erase`. It takes the images, (B, C, H, W) uint8, and 16 random numbers in [0, 1] per row, (B, 16) float32, which
            depend only on seed, epoch and row, and returns images of the same shape and type. If the target is points, it
            must not move them. A checkpoint does not store it, and prediction does not need it.

    Raises:
        BadTypeError: A strength is not a number, or `own` is not a function.
        BadValueError: A strength is out of range.

    Source:
        Defaults of fastai 2.8 `aug_transforms`, and `min_scale=0.75` as in the presizing of its course.

    Example:
        >>> Augmentation.from_dict(Augmentation(rotate=20).to_dict()).rotate
        20.0
    """

    flip: float = 0.5
    flip_vertical: float = 0.0
    transpose: float = 0.0
    rotate: float = 10.0
    zoom: float = 1.1
    warp: float = 0.2
    shear: float = 0.0
    affine_share: float = 0.75
    brightness: float = 0.2
    contrast: float = 0.2
    lighting_share: float = 0.75
    min_scale: float = 0.75
    ratio: tuple[float, float] = (1.0, 1.0)
    erase: float = 0.0
    erase_area: float = 0.3
    own: Callable[..., Any] | None = None

    @speaking()
    def __post_init__(self) -> None:
        """Check every strength."""
        for name in (field.name for field in dataclasses.fields(self) if field.name not in ("ratio", "own")):
            value = getattr(self, name)
            if not is_number(value):
                raise BadTypeError(f"{name} must be a number, got {value!r}", DEFAULT)
            object.__setattr__(self, name, float(value))
        for name, (low, high, closed) in _RANGES.items():
            value = getattr(self, name)
            if not (low <= value < high or (closed and value == high)):
                ends = (
                    f"lie in [{low:g}, {high:g}{']' if closed else ')'}" if high < math.inf else f"be at least {low:g}"
                )
                raise BadValueError(f"{name} must {ends}, got {value!r}", DEFAULT)
        if not 0 < self.min_scale <= 1:
            problem = f"min_scale must lie in (0, 1], got {self.min_scale!r}"
            raise BadValueError(problem, "Pass the smallest fraction of the area to crop to, such as 0.75")
        ratio = finite_numbers(self.ratio, 2)
        if ratio is None or not 0 < ratio[0] <= ratio[1]:
            problem = f"ratio must be two positive numbers, the smaller first, got {self.ratio!r}"
            raise BadValueError(problem, "Pass a pair such as (3 / 4, 4 / 3)")
        object.__setattr__(self, "ratio", tuple(ratio))
        if self.own is not None and not callable(self.own):
            raise BadTypeError(f"own must be a function, got {self.own!r}", "Pass a function of images and numbers")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data, without `own`."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "own"]
        return {name: getattr(self, name) for name in names} | {"ratio": list(self.ratio)}

    @classmethod
    @speaking("Augmentation")
    def from_dict(cls, data: Mapping[str, Any]) -> Augmentation:
        """Return settings written by `to_dict`, all or some; a preset, by default "default", supplies the others.

        Raises:
            BadTypeError: A setting has the wrong type.
            BadValueError: A setting is out of range.
            UnknownNameError: There is no such setting or preset.
        """
        preset = augmentation_named(data.get("preset", "default"))
        changes = {name: value for name, value in data.items() if name != "preset"}
        for name in changes:
            check_choice("setting", name, [*preset.to_dict(), "preset"])
        return dataclasses.replace(preset, **changes)


PRESETS = {
    "default": Augmentation(),
    "none": Augmentation(
        flip=0, rotate=0, zoom=1, warp=0, affine_share=0, brightness=0, contrast=0, lighting_share=0, min_scale=1
    ),
    "light": Augmentation(rotate=0, zoom=1, warp=0, brightness=0, contrast=0, min_scale=0.9),
    "strong": Augmentation(
        rotate=20, zoom=1.2, warp=0.3, brightness=0.4, contrast=0.4, min_scale=0.35, ratio=(3 / 4, 4 / 3), erase=0.25
    ),
}


@speaking("Augmentation")
def augmentation_named(value: str | Augmentation | Mapping[str, Any] | Callable[..., Any] | None) -> Augmentation:
    """Return the settings for a preset's name, a mapping of changes, a function, or None (no augmentation).

    A function is used as the only augmentation: as `Augmentation.own`, with every strength 0.

    Raises:
        BadTypeError: The value is none of these, or a setting has the wrong type.
        BadValueError: A setting is out of range.
        UnknownNameError: There is no such preset or setting.

    Example:
        >>> augmentation_named({"preset": "light", "rotate": 5}).rotate, augmentation_named("light").rotate
        (5.0, 0.0)
    """
    if isinstance(value, Augmentation):
        return value
    if value is None:
        return PRESETS["none"]
    if isinstance(value, Mapping):
        return Augmentation.from_dict(value)
    if callable(value):
        return dataclasses.replace(PRESETS["none"], own=value)
    if not isinstance(value, str):
        remedy = f"Pass one of {', '.join(PRESETS)}, or tabvision.augment.Augmentation(rotate=20)"
        raise BadTypeError(f"augment must be a name, settings, a mapping or a function, got {value!r}", remedy)
    check_choice("preset", value, PRESETS)
    return PRESETS[value]
