"""Check the settings of the network's input, and fit its range of values and statistics on a sample of the images."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast, get_args

import numpy as np

from tabvision.checks import check_choice, check_whole, is_integer, without_array
from tabvision.data.images.bands import as_channels, ignored_content, open_as
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.layout import layout_of, stored_values
from tabvision.errors import BadTypeError, BadValueError, count, listed
from tabvision.schema import IMAGENET_MEAN, IMAGENET_STD, Image, Resize, Schema

Normalize = str | tuple[Sequence[float], Sequence[float]] | None
"""None for the statistics that the weights expect, "imagenet", or (mean, std) per channel, for values in [0, 1]."""

ValueRange = Sequence[float] | Sequence[Sequence[float]] | None
"""(lowest, highest) stored value, such a pair per channel, or None to fit it for images of more than 8 bits."""

_Mapped = Callable[[Callable[[str], list[str]], Sequence[str]], Iterable[list[str]]]
"""`map`, or the `map` of a thread pool."""

_DEFAULT_SIZE = 224
SAMPLED_IMAGES = 64  # training images to look at before training
_SAMPLED_SIDE = 128  # about how many rows and columns of pixels to fit the range of values on
_PERCENTILES = (0.1, 99.9)  # so that a few dead or hot pixels do not set the range
_LEAST_STD = 1 / 255  # the std of a constant channel


def image_columns(image: object, schema: Schema | None) -> tuple[str, ...]:
    """Return the columns of paths: the ones named by the user, or the schema's."""
    given = () if image is None else (image,) if isinstance(image, str) else without_array(image)
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        problem = f"image must be a column or a list of columns, got {image!r}"
        raise BadTypeError(problem, 'Pass a list such as ["front", "back"]')
    if len(set(given)) < len(given):
        raise BadValueError(f"image names a column twice, got {image!r}", "Name each once")
    if schema is None:
        if not given:
            raise BadValueError("image must name a column of paths, got none", "Name it, or use TabularDataModule")
        return tuple(given)
    facts = schema.image
    if facts is None or not facts.optional:
        raise BadValueError("the schema is not for rows with images", "Pass the schema of a FusedModule, or none")
    if given and tuple(given) != facts.columns:
        problem = f"image must be the schema's {list(facts.columns)}, got {image!r}"
        raise BadValueError(problem, "Leave image or schema out")
    return facts.columns


def image_facts(
    schema: Schema | None,
    name: str,
    size: object,
    resize: str | None,
    normalize: Normalize,
    *,
    channels: int | None,
    value_range: ValueRange,
) -> Image:
    """Return the facts about the image for the schema, from the given settings or else from a reused schema.

    Raises:
        BadTypeError: A setting has the wrong type.
        BadValueError: The size is not positive, or the schema has no image.
        UnknownNameError: There is no `resize` of that name.
    """
    if schema is not None and schema.image is None:
        raise BadValueError("the schema has no image", "Pass the schema of a module that was trained on images")
    known = Image(name=name, size=(_DEFAULT_SIZE, _DEFAULT_SIZE)) if schema is None else cast("Image", schema.image)
    known = _with_values(known, channels, value_range, is_reused=schema is not None)
    mean, std = (known.mean, known.std) if normalize is None else _statistics(normalize, known.channels)
    new_size = known.size if size is None else checked_size(size)
    if resize is not None:
        check_choice("resize", resize, get_args(Resize))
    return replace(known, size=new_size, resize=cast("Resize", resize or known.resize), mean=mean, std=std)


def _with_values(image: Image, channels: int | None, value_range: ValueRange, *, is_reused: bool) -> Image:
    """Return the image with the given channels and range.

    Raises:
        BadTypeError: A setting has the wrong type.
        BadValueError: A range is empty, their number does not match the channels, or they differ from the reused schema.
    """
    num = image.channels if channels is None else check_whole("channels", channels, remedy="Pass 1 for gray, 3 for RGB")
    ranges = image.value_range
    if value_range is not None:
        remedy = "Pass (lowest, highest), such as (0, 4095), or one such pair for each channel"
        try:
            ends = np.asarray(value_range, dtype=np.float64).reshape(-1, 2)
        except (TypeError, ValueError):
            raise BadTypeError(f"value_range must be two numbers, got {value_range!r}", remedy) from None
        if len(ends) not in (1, num) or not (np.isfinite(ends).all() and (ends[:, 0] < ends[:, 1]).all()):
            raise BadValueError(f"value_range must be a lower and a higher number, got {value_range!r}", remedy)
        ranges = tuple((low, high) for low, high in ends.tolist())
    if is_reused and (num, ranges) != (image.channels, image.value_range):
        problem = f"channels and value_range must be the schema's, {image.channels} and {image.value_range}"
        raise BadValueError(f"{problem}, got {num} and {ranges}", "Leave them or schema out")
    return replace(image, channels=num, value_range=ranges)


def fitted(image: Image, files: Sequence[str], *, is_new: bool) -> Image:
    """Fit the image's facts on a sample of training images, and log what these hold that the network does not see.

    Args:
        image: The facts as given.
        files: The sample.
        is_new: Whether to fit what is not given: the range of values, and the statistics of channels other than RGB.

    Raises:
        BadValueError: No image in the sample has the channels to read.
    """
    is_deep = []
    for file in files:
        with suppress(UnreadableImageError):
            is_deep.append(layout_of(file).bits != 8)
    if is_new and is_deep and all(is_deep) and not image.value_range:
        image = replace(image, value_range=_found_range(image, files))
    for sentence in notes_on_ignored(files, image):
        logging.getLogger("tabvision").info(sentence)
    if is_new and len(files) and image.channels != 3 and not image.mean:
        mean, std = _found_statistics(image, files)
        image = replace(image, mean=mean, std=std)
    return image


def notes_on_ignored(files: Sequence[str], image: Image, mapped: _Mapped = map) -> list[str]:
    """Return a sentence for each kind of content that the network does not see, with the number of images that have it.

    Example:
        >>> notes_on_ignored(["nowhere.png"], Image(size=(8, 8)))
        []
    """

    def ignored(file: str) -> list[str]:
        with suppress(UnreadableImageError):
            return list(ignored_content(file, image))
        return []

    found: dict[str, list[str]] = {}
    for file, those in zip(files, mapped(ignored, files), strict=True):
        for what in those:
            found.setdefault(what, []).append(file)
    return [
        f"{len(those):,} of {count(len(files), 'image')} {what} (such as {those[0]!r})."
        for what, those in found.items()
    ]


def _found_range(image: Image, files: Sequence[str]) -> tuple[tuple[float, float], ...]:
    """Return the range of most values in a sample, per channel; gray or RGB has a single range."""
    found = []
    for file in files:
        with suppress(UnreadableImageError):
            values = as_channels(stored_values(file, layout_of(file), image.channels), image.channels)
            step = 1 + max(values.shape[:2]) // _SAMPLED_SIDE
            found.append(values[::step, ::step].reshape(-1, image.channels).astype(np.float64))
    if not found:
        raise _none_readable(image, files)
    values = np.concatenate(found).reshape(-1, 1 if image.channels in (1, 3) else image.channels)
    values[~np.isfinite(values)] = np.nan
    values[:, np.isnan(values).all(axis=0)] = 0
    whole = np.nan_to_num(np.nanmin(values, axis=0)), np.nan_to_num(np.nanmax(values, axis=0))
    low, high = np.nan_to_num(np.nanpercentile(values, _PERCENTILES, axis=0))
    low, high = np.where(low < high, [low, high], [whole[0], np.maximum(whole[1], whole[0] + 1)])
    each = [f"{a:,.6g} to {b:,.6g} of {c:,.6g} to {d:,.6g}" for a, b, c, d in zip(low, high, *whole, strict=True)]
    note = f"Values from {listed(each)} in {count(len(found), 'training image')} become black to white"
    logging.getLogger("tabvision").info(f"{note}; value_range= (--value-range) sets another range.")
    return tuple(zip(low.tolist(), high.tolist(), strict=True))


def _found_statistics(image: Image, files: Sequence[str]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std of each channel over a sample, for values in [0, 1]."""
    found = []
    for file in files:
        with suppress(UnreadableImageError):
            pixels = open_as(file, image).decode().pixels.reshape(-1, image.channels).astype(np.float64) / 255
            found.append([pixels.mean(axis=0), np.square(pixels).mean(axis=0)])
    if not found:
        raise _none_readable(image, files)
    mean, square = np.mean(found, axis=0)
    std = np.sqrt(np.maximum(square - np.square(mean), _LEAST_STD**2))
    return tuple(mean.tolist()), tuple(std.tolist())


def _none_readable(image: Image, files: Sequence[str]) -> BadValueError:
    """Return the error for a sample in which no image has the channels to read."""
    try:
        open_as(files[0], image).decode()
        reason = "other channels"
    except UnreadableImageError as error:
        reason = error.reason
    problem = f"no training image can be read with channels={image.channels}: {files[0]!r} ({reason})"
    return BadValueError(problem, "Pass the number of channels that they have (channels=, --channels)")


def checked_size(size: object) -> tuple[int, int]:
    """Return a side, or (height, width), as (height, width).

    Raises:
        BadTypeError: The size is not one or two whole numbers.
        BadValueError: The size is not positive.

    Example:
        >>> checked_size(224), checked_size([96, 128])
        ((224, 224), (96, 128))
    """
    given = without_array(size)
    sides: list[Any] = list(given) if isinstance(given, tuple | list) else [given, given]
    remedy = "Pass a side in pixels such as 224, or (height, width)"
    if len(sides) != 2 or not all(map(is_integer, sides)):
        raise BadTypeError(f"size must be a whole number or two of them, got {size!r}", remedy)
    if min(sides) < 1:
        raise BadValueError(f"size must be positive, got {size!r}", remedy)
    return int(sides[0]), int(sides[1])


def _statistics(
    normalize: str | tuple[Sequence[float], Sequence[float]], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and std of each channel.

    Raises:
        BadTypeError: There is not one number for each channel.
        BadValueError: A std is not positive.
        UnknownNameError: There is no such name.

    Example:
        >>> _statistics("imagenet", 3)[0]
        (0.485, 0.456, 0.406)
    """
    if isinstance(normalize, str):
        check_choice("normalize", normalize, ["imagenet"])
        if channels != 3:
            problem = f"normalize={normalize!r} is for 3 channels, got {channels}"
            raise BadValueError(problem, "Leave normalize out for the statistics of the training images")
        return IMAGENET_MEAN, IMAGENET_STD
    remedy = 'Pass "imagenet", (mean, std) with one number per channel, or None for those of the weights'
    try:
        mean, std = (tuple(float(value) for value in values) for values in normalize)
    except (TypeError, ValueError):
        raise BadTypeError(f"normalize must be means and stds, got {normalize!r}", remedy) from None
    if len(mean) != channels or len(std) != channels:
        raise BadTypeError(f"normalize needs {channels} means and {channels} stds, got {normalize!r}", remedy)
    if min(std) <= 0:
        raise BadValueError(f"stds must be positive, got {std}", remedy)
    return mean, std
