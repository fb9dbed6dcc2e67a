"""Check the settings of the network's input: size, resize and statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from tabvision.checks import check_choice, is_integer
from tabvision.errors import BadTypeError, BadValueError
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD, Image, Resize, Schema

Normalize = str | tuple[Sequence[float], Sequence[float]] | None
"""None for the statistics of the network's weights, "imagenet", or (mean, std) of each channel, of values in [0, 1]."""

DEFAULT_SIZE = 224


def image_facts(schema: Schema | None, name: str, size: object, resize: str | None, normalize: Normalize) -> Image:
    """Return the schema's facts about the image: from the settings given, else from a schema that is reused.

    Raises:
        BadTypeError: A setting has the wrong type.
        BadValueError: The size is not positive, or the schema has no image.
        UnknownNameError: There is no such resize.
    """
    if schema is not None and schema.image is None:
        problem = "the schema holds no image"
        raise BadValueError(problem, "Pass the schema of a module that was trained on images")
    known = Image(name=name, size=(DEFAULT_SIZE, DEFAULT_SIZE)) if schema is None else cast("Image", schema.image)
    mean, std = (known.mean, known.std) if normalize is None else _statistics(normalize)
    new_size = known.size if size is None else checked_size(size)
    if resize is not None:
        check_choice("resize", resize, get_args(Resize))
    return Image(name=known.name, size=new_size, resize=cast("Resize", resize or known.resize), mean=mean, std=std)


def checked_size(size: object) -> tuple[int, int]:
    """Return a side, or (height, width), as (height, width).

    Raises:
        BadTypeError: The size is not one or two whole numbers.
        BadValueError: The size is not positive.

    Example:
        >>> checked_size(224), checked_size([96, 128])
        ((224, 224), (96, 128))
    """
    sides: list[Any] = list(size) if isinstance(size, tuple | list) else [size, size]
    remedy = "Pass a side in pixels such as 224, or (height, width)"
    if len(sides) != 2 or not all(map(is_integer, sides)):
        raise BadTypeError(f"size must be a whole number or two of them, got {size!r}", remedy)
    if min(sides) < 1:
        raise BadValueError(f"size must be positive, got {size!r}", remedy)
    return sides[0], sides[1]


def _statistics(
    normalize: str | tuple[Sequence[float], Sequence[float]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and the std of each channel.

    Raises:
        BadTypeError: There are not three numbers each.
        BadValueError: A std is not positive.
        UnknownNameError: There is no such name.

    Example:
        >>> _statistics("imagenet")[0]
        (0.485, 0.456, 0.406)
    """
    if isinstance(normalize, str):
        check_choice("normalize", normalize, ["imagenet"])
        return IMAGENET_MEAN, IMAGENET_STD
    remedy = 'Pass "imagenet", (mean, std) with three numbers each, or None for those of the weights'
    try:
        mean, std = (tuple(float(value) for value in values) for values in normalize)
    except (TypeError, ValueError):
        raise BadTypeError(f"normalize must be means and stds, got {normalize!r}", remedy) from None
    if len(mean) != 3 or len(std) != 3:
        raise BadTypeError(f"normalize needs three numbers each, got {normalize!r}", remedy)
    if min(std) <= 0:
        raise BadValueError(f"stds must be positive, got {std}", remedy)
    return mean, std
