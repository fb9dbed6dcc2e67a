"""Combine crop, flip, rotation, zoom, shear and perspective into one matrix per row.

A matrix maps homogeneous coordinates (x, y, 1) of an output pixel to those of the source. Whole numbers are pixel centers,
so an image of width w spans -0.5 to w - 0.5. Transforms are composed in the unit frame: -1 to 1 from edge to edge, in both
directions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tabvision.augment.settings import Augmentation
from tabvision.checks import check_choice
from tabvision.counter_random import stretched

Matrices = NDArray[np.float64]
_Entry = NDArray[np.float64] | float
_RESIZES = ("crop", "squish", "pad")
_NUM_TRIES = 10  # draws of a crop's shape before the fallback to a centered crop, as in fastai and torchvision
NUM_DRAWS = 19 + 2 * _NUM_TRIES


def training_matrices(
    settings: Augmentation,
    draws: NDArray[np.float64],
    source_sizes: NDArray[np.int64],
    size: tuple[int, int],
    resize: str,
) -> Matrices:
    """Return each row's matrix, which resizes its image to the network's input and augments it.

    Args:
        settings: The augmentation's settings.
        draws: Random numbers in [0, 1), `NUM_DRAWS` per row.
        source_sizes: (height, width) of each image.
        size: (height, width) of the output.
        resize: "crop", "squish" or "pad".

    Shape:
        - draws: (B, NUM_DRAWS) float64
        - source_sizes: (B, 2)
        - returns: (B, 3, 3) float64, output pixel to source pixel

    Source:
        fastai 2.8: `Resize` at a random position, then `aug_transforms` with its random crop (`RandomResizedCropGPU`), drawn
        from the same distributions. Here there is one interpolation instead of three, crops are not rounded to whole pixels,
        and the unit frame reaches from edge to edge, not between the outer pixels' centers.

    Example:
        >>> from tabvision.augment.settings import augmentation_named
        >>> draws = np.full((1, NUM_DRAWS), 0.5)
        >>> training_matrices(augmentation_named("none"), draws, np.array([[8, 8]]), (8, 8), "crop")[0].tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    (height, width), num, p = size, len(draws), settings.affine_share
    region = _region(resize, source_sizes, size, position=draws[:, 0:2])
    across = np.where(draws[:, 2] < settings.flip, -1.0, 1.0)
    down = np.where(draws[:, 3] < settings.flip_vertical, -1.0, 1.0)
    swap = draws[:, 4] < settings.transpose
    flipped = _linear(across * ~swap, across * swap, down * swap, down * ~swap, num)
    angles = np.deg2rad(_strengths(draws[:, 5:7], p, -settings.rotate, settings.rotate, 0))
    rotated = flipped @ _linear(np.cos(angles), np.sin(angles), -np.sin(angles), np.cos(angles), num)
    angles = np.deg2rad(_strengths(draws[:, 7:9], p, -settings.shear, settings.shear, 0))
    sheared = rotated @ _linear(1, np.tan(angles), 0, 1, num)
    sheared[:, 0, 1] *= height / width  # angles are measured in pixels, not in the unit frame
    sheared[:, 1, 0] *= width / height
    # zoom around a fixed point inside the image, like fastai's `zoom_mat`
    scales = (1 / _strengths(draws[:, 9:11], p, 1, settings.zoom, 1))[:, None].repeat(2, axis=1)
    zoomed = sheared @ _scale_and_shift(scales, (1 - scales) * (2 * draws[:, 11:13] - 1))
    # the inverse of the map that moves the corners, which solves the eight equations of fastai's `Warp`
    x = _strengths(draws[:, 13:15], p, -settings.warp, settings.warp, 0)
    y = _strengths(draws[:, 15:17], p, -settings.warp, settings.warp, 0)
    moved = np.array([[1 - y * y, -x * y, x], [-x * y, 1 - x * x, y], [x, y, np.ones_like(x)]])
    perspective = np.linalg.inv(moved.transpose(2, 0, 1))
    return region @ (perspective @ zoomed @ _crop(settings, draws[:, 17:])) @ from_output(size)


def evaluation_matrices(resize: str, source_sizes: NDArray[np.int64], size: tuple[int, int]) -> Matrices:
    """Return each row's matrix, which resizes its image to the network's input around the center.

    Args:
        resize: "crop" scales the image until it covers the output, "pad" until it fits inside (the rest is mirrored), and
            "squish" scales each side separately.
        source_sizes: (height, width) of each image.
        size: (height, width) of the output.

    Shape:
        - source_sizes: (B, 2)
        - returns: (B, 3, 3) float64, output pixel to source pixel

    Example:
        >>> evaluation_matrices("crop", np.array([[10, 20]]), (10, 10))[0, :2, 2].tolist()
        [5.0, 0.0]
    """
    center = np.full((len(source_sizes), 2), 0.5)
    return _region(resize, source_sizes, size, position=center) @ from_output(size)


def shrink_of(matrix: Matrices, size: tuple[int, int]) -> float:
    """Return the smallest number of source pixels per output pixel, over the output's corners and all directions.

    Shrinking the source by up to this factor loses no detail in the output.

    Args:
        matrix: Output pixel to source pixel, (3, 3).
        size: (height, width) of the output.

    Example:
        >>> shrink_of(np.diag([3.0, 4.0, 1.0]), (8, 8))
        3.0
    """
    height, width = size
    corners = [(0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)]
    stretches = []
    for x, y in corners:
        change = jacobian(matrix, x, y)  # (2, 2); its smaller singular value is the least stretch
        squares, area = float((change**2).sum()), float(change[0, 0] * change[1, 1] - change[0, 1] * change[1, 0])
        difference = math.sqrt(max(squares * squares - 4 * area * area, 0.0))
        stretches.append(math.sqrt(max(squares - difference, 0.0) / 2))
    return min(stretches)


def jacobian(matrices: Matrices, x: float, y: float) -> Matrices:
    """Return the derivative of source coordinates with respect to output coordinates at one output point.

    Shape:
        - matrices: (..., 3, 3)
        - returns: (..., 2, 2)

    Example:
        >>> jacobian(np.diag([3.0, 4.0, 1.0]), 0, 0).tolist()
        [[3.0, 0.0], [0.0, 4.0]]
    """
    point = matrices @ np.array([x, y, 1.0])
    depth = point[..., 2, None, None]
    change: Matrices = (matrices[..., :2, :2] - point[..., :2, None] / depth * matrices[..., 2:, :2]) / depth
    return change


def rescaled(matrix: Matrices, factor: float | tuple[float, float]) -> Matrices:
    """Adapt the matrix to the same image stored at another scale.

    Args:
        matrix: Output pixel to source pixel, (..., 3, 3).
        factor: Stored pixels per source pixel, such as 0.5 for a JPEG decoded at half size, or (height, width) factors.

    Example:
        >>> rescaled(np.eye(3), 0.5)[0].tolist()
        [0.5, 0.0, -0.25]
    """
    down, across = factor if isinstance(factor, tuple) else (factor, factor)
    # the image's edge, at -0.5, stays fixed
    scale = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]])
    scaled: Matrices = scale @ matrix
    return scaled


def _region(
    resize: str, source_sizes: NDArray[np.int64], size: tuple[int, int], position: NDArray[np.float64]
) -> Matrices:
    """Return each source's region to show, at a position in [0, 1], as matrices from the unit frame to source pixels."""
    check_choice("resize", resize, _RESIZES)
    sides = np.asarray(source_sizes, dtype=np.float64)
    ratios = sides / np.array(size, dtype=np.float64)  # source pixels per output pixel, (height, width)
    if resize == "crop":
        ratios = ratios.min(axis=1, keepdims=True)
    elif resize == "pad":
        ratios = ratios.max(axis=1, keepdims=True)
    taken = ratios * np.array(size, dtype=np.float64)
    first = position * (sides - taken) - 0.5
    return _scale_and_shift(taken[:, ::-1] / 2, first[:, ::-1] + taken[:, ::-1] / 2)


def to_output(size: tuple[int, int]) -> Matrices:
    """Return the matrix that maps the output's frame, -1 to 1 from edge to edge, to its pixels.

    Example:
        >>> (to_output((4, 8)) @ [-1, 1, 1]).tolist()
        [-0.5, 3.5, 1.0]
    """
    height, width = size
    return np.array([[width / 2, 0, (width - 1) / 2], [0, height / 2, (height - 1) / 2], [0, 0, 1]])


def from_output(size: tuple[int, int]) -> Matrices:
    """Return the matrix that maps the output's pixels to its frame: the inverse of `to_output`.

    Example:
        >>> (from_output((4, 8)) @ [-0.5, 3.5, 1]).tolist()
        [-1.0, 1.0, 1.0]
    """
    height, width = size
    return np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])


def _scale_and_shift(scales: NDArray[np.float64], shifts: NDArray[np.float64]) -> Matrices:
    """Return the matrices for scales and shifts, each (B, 2) with x before y."""
    matrices = _linear(scales[:, 0], 0, 0, scales[:, 1], len(scales))
    matrices[:, :2, 2] = shifts
    return matrices


def _linear(a: _Entry, b: _Entry, c: _Entry, d: _Entry, num: int) -> Matrices:
    """Return the matrices that map (x, y) to (a x + b y, c x + d y)."""
    matrices = np.zeros((num, 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1] = a, b, c, d
    matrices[:, 2, 2] = 1
    return matrices


def _strengths(draws: NDArray[np.float64], p: float, low: float, high: float, neutral: float) -> NDArray[np.float64]:
    """Return a number in [low, high) with probability p, else `neutral`; the first of two draws decides which."""
    return np.where(draws[:, 0] < p, stretched(draws[:, 1], low, high), neutral)


def _crop(settings: Augmentation, draws: NDArray[np.float64]) -> Matrices:
    """Return crops at random positions, each with the first of several random shapes that fits into the frame."""
    tries = draws[:, 2:].reshape(len(draws), 2, _NUM_TRIES)
    areas = stretched(tries[:, 0], settings.min_scale, 1)
    roots = np.exp(stretched(tries[:, 1], *np.log(settings.ratio)) / 2)
    sides = np.stack([np.sqrt(areas) * roots, np.sqrt(areas) / roots], axis=2)
    fits = np.all(sides <= 1, axis=2)
    first = sides[np.arange(len(draws)), fits.argmax(axis=1)]
    ratio = np.clip(1, *settings.ratio)
    widest = np.array([min(ratio, 1), min(1 / ratio, 1)])  # fallback: the largest of the closest shape, centered
    found = np.any(fits, axis=1, keepdims=True)
    chosen, position = np.where(found, first, widest), np.where(found, draws[:, 0:2], 0.5)
    return _scale_and_shift(chosen, (1 - chosen) * (2 * position - 1))
