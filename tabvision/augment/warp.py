"""Warp images by a matrix in one interpolation: one image on the CPU, or a batch on any device.

Both take the same matrices and agree to within one gray level. If an image shrinks by a factor of two or more, its pixels
are first averaged in blocks, so that fine patterns turn gray instead of aliasing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from tabvision.augment.geometry import Matrices, from_output, rescaled

if TYPE_CHECKING:
    from torch import Tensor

_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_ROUNDING = 1e-9  # tolerance, so that rounding does not turn a factor of exactly two into less
_NEAR_AFFINE = 1e-12  # a last row of this relative size moves no pixel in any image
# cv2 warps four-byte pixels in a third of the time of three-byte pixels; with more source pixels than this per output pixel,
# adding the fourth byte takes longer than it saves
_MOST_WIDENED = 16


def warp_image(source: NDArray[np.uint8], matrix: NDArray[np.float64], out: NDArray[np.uint8]) -> None:
    """Warp an image into `out`; beyond its edges the source is mirrored.

    Args:
        source: The image.
        matrix: Maps output pixels to source pixels; see `geometry`.
        out: The array to write the result to.

    Shape:
        - source: (h, w, C) uint8
        - matrix: (3, 3) float64
        - out: (H, W, C) uint8, with contiguous pixels; rows may be strided

    Example:
        >>> source, out = np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.empty((2, 2, 3), np.uint8)
        >>> warp_image(source, np.eye(3), out)
        >>> bool((out == source).all())
        True
    """
    height, width = out.shape[:2]
    block = _block(matrix, (height, width), source.shape[:2])
    if block != (1, 1):
        source, matrix = _averaged(source, matrix, block, (height, width))
    if out.shape[2] != 3 or source.size > 3 * _MOST_WIDENED * height * width:
        _interpolated(source, matrix, out)
        return
    wide_source, wide_out = (np.empty((*each.shape[:2], 4), np.uint8) for each in (source, out))
    cv2.cvtColor(source, cv2.COLOR_RGB2RGBA, wide_source)
    _interpolated(wide_source, matrix, wide_out)
    cv2.cvtColor(wide_out, cv2.COLOR_RGBA2RGB, out)


def _interpolated(source: NDArray[np.uint8], matrix: Matrices, out: NDArray[np.uint8]) -> None:
    height, width = out.shape[:2]
    across, down, first = matrix[2].tolist()
    if max(abs(across), abs(down)) < _NEAR_AFFINE * abs(first):
        cv2.warpAffine(source, matrix[:2] / matrix[2, 2], (width, height), out, _FLAGS, cv2.BORDER_REFLECT)
    else:
        cv2.warpPerspective(source, matrix, (width, height), out, _FLAGS, cv2.BORDER_REFLECT)


def resize_image(source: NDArray[np.uint8], size: tuple[int, int], interpolation: int) -> NDArray[np.uint8]:
    """Resize an image of any number of channels to (width, height): cv2 averages up to four, and drops the axis of one.

    Example:
        >>> resize_image(np.zeros((9, 9, 13), np.uint8), (2, 3), cv2.INTER_AREA).shape
        (3, 2, 13)
    """
    parts = [source] if source.shape[2] <= 4 else np.split(source, range(4, source.shape[2], 4), axis=2)
    parts = [np.asarray(cv2.resize(part, size, interpolation=interpolation), np.uint8) for part in parts]
    return parts[0] if parts[0].shape[2:] == source.shape[2:] else np.dstack(parts)


def warp_batch(images: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Warp a batch of images of one size, each by its own matrix; beyond their edges images are mirrored.

    Args:
        images: The images, on any device.
        matrices: Map output pixels to source pixels; best on the CPU, which reads them first.
        size: (height, width) of the output.

    Shape:
        - images: (B, C, h, w) uint8 in [0, 255], or float
        - matrices: (B, 3, 3)
        - returns: (B, C, H, W) float32, in the input's memory layout; in [0, 1] for uint8, else in the input's units

    Example:
        >>> import torch
        >>> images = torch.rand(1, 3, 4, 4)
        >>> torch.allclose(warp_batch(images, torch.eye(3)[None], (4, 4)), images, atol=1e-6)
        True
    """
    import torch

    known = matrices.detach().cpu().double().numpy()
    blocks = [_block(matrix, size, images.shape[-2:]) for matrix in known]
    values = images.float()
    kinds = sorted(set(blocks))
    if len(kinds) == 1:
        result = _sampled(values, known, kinds[0], size)
    else:
        result = values.new_empty((len(values), values.shape[1], *size))
        for kind in kinds:
            rows = [row for row, block in enumerate(blocks) if block == kind]
            result[rows] = _sampled(values[rows], known[rows], kind, size)
    layout = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    result = result.contiguous(memory_format=layout)
    return result.div_(255) if images.dtype == torch.uint8 else result


def _block(matrix: Matrices, size: tuple[int, int], source_size: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of the block of source pixels to average: whole pixels that fit into one output pixel.

    It is measured at the output's center, along the source's axes. For one matrix, plain floats are ten times as fast.
    """
    # The source pixel of (x, y) is ((a x + b y + c) / z, (d x + e y + f) / z), where z = g x + h y + i
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    x, y = (size[1] - 1) / 2, (size[0] - 1) / 2
    z = g * x + h * y + i
    column, row = (a * x + b * y + c) / z, (d * x + e * y + f) / z
    across = math.hypot(a - column * g, b - column * h) / abs(z)
    down = math.hypot(d - row * g, e - row * h) / abs(z)
    height, width = source_size
    return min(max(int(down + _ROUNDING), 1), height), min(max(int(across + _ROUNDING), 1), width)


def _averaged(
    source: NDArray[np.uint8], matrix: Matrices, block: tuple[int, int], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], Matrices]:
    """Return the visible part of the source, averaged in blocks, and the matrix that maps output pixels to it."""
    (down, across), (height, width) = block, size
    corners = matrix @ np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    ends: list[int] = []  # of the visible part, in whole blocks from the source's corner
    for axis, side, step in ((1, source.shape[0], down), (0, source.shape[1], across)):
        visible = corners[axis] / corners[2]
        low, high = visible.min(), visible.max()
        low, high = min(low, 2 * (side - 1) - high), max(high, -low)  # mirrored beyond the edges
        num = side // step
        first = min(max(math.floor(low / step) - 2, 0), num - 1)
        last = min(max(math.ceil(high / step) + 2, first + 1), num)
        ends += [first * step, last * step]
    top, bottom, left, right = ends
    part = source[top:bottom, left:right]
    shape = ((right - left) // across, (bottom - top) // down)
    shapes = [shape]
    if down % 2 == across % 2 == 0 and (down, across) != (2, 2):  # do two by two first, by far the fastest
        shapes = [((right - left) // 2, (bottom - top) // 2), shape]
    for each in shapes:
        part = resize_image(part, each, cv2.INTER_AREA)
    shift = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]])
    return part, rescaled(shift @ matrix, (1 / down, 1 / across))


def _sampled(values: Tensor, matrices: Matrices, block: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Average and interpolate images that all have the same block size."""
    import torch
    from torch.nn import functional

    if block != (1, 1):
        values = functional.avg_pool2d(values, block)
        matrices = rescaled(matrices, (1 / block[0], 1 / block[1]))
    in_frame = from_output((values.shape[-2], values.shape[-1])) @ matrices
    to_frame = torch.from_numpy(in_frame).to(values.device, torch.float32)
    height, width = size
    x = torch.arange(width, device=to_frame.device, dtype=to_frame.dtype)
    y = torch.arange(height, device=to_frame.device, dtype=to_frame.dtype)
    # compute the terms of each column and row first, and only then broadcast them over all pixels
    across = to_frame[:, :, 0, None] * x
    down = to_frame[:, :, 1, None] * y + to_frame[:, :, 2, None]
    points = across[:, :, None, :] + down[:, :, :, None]
    grid = to_frame.new_empty(len(to_frame), height, width, 2)  # in the memory order in which sampling reads
    torch.div(points[:, :2].permute(0, 2, 3, 1), points[:, 2, :, :, None], out=grid)
    return functional.grid_sample(values, grid, "bilinear", "reflection", align_corners=False)
