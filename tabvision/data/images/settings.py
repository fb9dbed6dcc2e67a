"""What a user may say of the network's input: size, resize, statistics; checked where it enters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.schema import IMAGENET_MEAN, IMAGENET_SPREAD, Image, Resize, Schema

Normalize = str | tuple[Sequence[float], Sequence[float]] | None
"""None to leave it to the network's weights, "imagenet", or (mean, spread) of each channel, of values in [0, 1]."""

DEFAULT_SIZE = 224


def image_facts(schema: Schema | None, name: str, size: object, resize: str | None, normalize: Normalize) -> Image:
    """The picture as a schema holds it: as wished, the rest as in a schema that is used again.

    Raises:
        BadTypeError: A setting of the wrong kind.
        BadValueError: A size that is not positive, or a schema without a picture.
        UnknownNameError: No such resize.
    """
    if schema is not None and schema.image is None:
        problem = "the schema holds no picture"
        raise BadValueError(problem, "Pass the schema of a module that was trained on pictures")
    known = Image(name=name, size=(DEFAULT_SIZE, DEFAULT_SIZE)) if schema is None else cast("Image", schema.image)
    mean, spread = (known.mean, known.std) if normalize is None else statistics(normalize)
    return Image(
        name=known.name,
        size=known.size if size is None else checked_size(size),
        resize=known.resize if resize is None else _checked_resize(resize),
        mean=mean,
        std=spread,
    )


def checked_size(size: object) -> tuple[int, int]:
    """A side, or (height, width), as (height, width).

    Raises:
        BadTypeError: No whole number, or two of them.
        BadValueError: Not positive.

    Example:
        >>> checked_size(224), checked_size([96, 128])
        ((224, 224), (96, 128))
    """
    sides: list[Any] = list(size) if isinstance(size, tuple | list) else [size, size]
    remedy = "Pass a side in pixels such as 224, or (height, width)"
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) for side in sides):
        raise BadTypeError(f"size must be a whole number or two of them, got {size!r}", remedy)
    if min(sides) < 1:
        raise BadValueError(f"size must be positive, got {size!r}", remedy)
    return sides[0], sides[1]


def _checked_resize(resize: str) -> Resize:
    """The name of a way to resize.

    Raises:
        UnknownNameError: No such way.
    """
    if resize not in get_args(Resize):
        raise UnknownNameError("resize", resize, get_args(Resize))
    return cast("Resize", resize)


def statistics(normalize: Normalize) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of each channel; empty for None.

    Raises:
        BadTypeError: Not three numbers each.
        BadValueError: A spread that is not positive.
        UnknownNameError: No such name.

    Example:
        >>> statistics("imagenet")[0]
        (0.485, 0.456, 0.406)
    """
    if normalize is None:
        return (), ()
    if isinstance(normalize, str):
        if normalize != "imagenet":
            raise UnknownNameError("normalize", normalize, ["imagenet"])
        return IMAGENET_MEAN, IMAGENET_SPREAD
    remedy = 'Pass "imagenet", (mean, spread) with three numbers each, or None to leave it to the weights'
    try:
        mean, spread = (tuple(float(value) for value in values) for values in normalize)
    except (TypeError, ValueError):
        raise BadTypeError(f"normalize must be means and spreads, got {normalize!r}", remedy) from None
    if len(mean) != 3 or len(spread) != 3:
        raise BadTypeError(f"normalize needs three numbers each, got {normalize!r}", remedy)
    if min(spread) <= 0:
        raise BadValueError(f"spreads must be positive, got {spread}", remedy)
    return mean, spread
