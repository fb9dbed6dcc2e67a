"""Matrices do what fastai's transforms do to the same numbers, and what their names say."""

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tabvision.augment.geometry import NUM_DRAWS, evaluation_matrices, jacobian, rescaled, shrink_of, training_matrices
from tabvision.augment.settings import PRESETS, Augmentation, augmentation_named
from tabvision.counter_random import uniforms
from tabvision.errors import UnknownNameError

# where each thing's draws lie in a row
PLACE, FLIP, FLIP_VERTICAL, TRANSPOSE, ROTATE, SHEAR, ZOOM, WARP_X, WARP_Y, CROP = 0, 2, 3, 4, 5, 7, 9, 13, 15, 17
CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.3, -0.2]])


def alone(**strengths: Any) -> Augmentation:
    """No augmentation but these."""
    return dataclasses.replace(PRESETS["none"], affine_share=1.0, **strengths)


def draws_with(**values: float) -> NDArray[np.float64]:
    """A row of draws of one half, but for those named by what they decide."""
    draws = np.full((1, NUM_DRAWS), 0.5)
    for name, value in values.items():
        draws[0, globals()[name.removesuffix("_amount")] + name.endswith("_amount")] = value
    return draws


def in_unit_frame(matrix: NDArray[np.float64], points: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Where points of the output's frame lie in the frame of a source of the same size."""
    pixels = (points + 1) * side / 2 - 0.5
    seen = np.c_[pixels, np.ones(len(pixels))] @ matrix.T
    framed: NDArray[np.float64] = (seen[:, :2] / seen[:, 2:] + 0.5) * 2 / side - 1
    return framed


def matrix_of(settings: Augmentation, draws: NDArray[np.float64], side: int = 40) -> Any:
    return training_matrices(settings, draws, np.array([[side, side]]), (side, side), "crop")[0]


def fastai_warp(points: NDArray[np.float64], x: float, y: float) -> NDArray[np.float64]:
    """`find_coeffs` and `apply_perspective` of fastai 2.8: eight equations solved by numpy."""
    original = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    target = [(-1 - y, -1 - x), (-1 + y, 1 + x), (1 + y, -1 + x), (1 - y, 1 - x)]
    rows = []
    for (u, v), (s, t) in zip(original, target, strict=True):
        rows += [[s, t, 1, 0, 0, 0, -u * s, -u * t], [0, 0, 0, s, t, 1, -v * s, -v * t]]
    coefficients = np.linalg.solve(np.array(rows, dtype=float), np.array(original, dtype=float).ravel())
    seen = np.c_[points, np.ones(len(points))] @ np.append(coefficients, 1).reshape(3, 3).T
    warped: NDArray[np.float64] = seen[:, :2] / seen[:, 2:]
    return warped


def fastai_zoom(factor: float, col: float, row: float) -> NDArray[np.float64]:
    """`zoom_mat` of fastai 2.8."""
    s = 1 / factor
    return np.array([[s, 0, (1 - s) * (2 * col - 1)], [0, s, (1 - s) * (2 * row - 1)], [0, 0, 1]])


def fastai_rotation(degrees: float) -> NDArray[np.float64]:
    """`rotate_mat` of fastai 2.8."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), math.sin(angle), 0], [-math.sin(angle), math.cos(angle), 0], [0, 0, 1]])


@pytest.mark.parametrize("degrees", [-10.0, 3.0, 9.5])
def test_rotation_is_fastais(degrees: float) -> None:
    matrix = matrix_of(alone(rotate=10), draws_with(ROTATE_amount=(degrees / 10 + 1) / 2))

    assert in_unit_frame(matrix, CORNERS, 40) == pytest.approx(CORNERS @ fastai_rotation(degrees)[:2, :2].T)


@pytest.mark.parametrize(("factor", "col", "row"), [(1.1, 0.0, 0.0), (1.05, 0.3, 0.9), (1.0, 0.2, 0.2)])
def test_zoom_is_fastais(factor: float, col: float, row: float) -> None:
    draws = draws_with(ZOOM_amount=(factor - 1) / 0.1)
    draws[0, ZOOM + 2 : ZOOM + 4] = col, row

    matrix = matrix_of(alone(zoom=1.1), draws)

    expected = np.c_[CORNERS, np.ones(5)] @ fastai_zoom(factor, col, row).T
    assert in_unit_frame(matrix, CORNERS, 40) == pytest.approx(expected[:, :2])


@pytest.mark.parametrize(("x", "y"), [(0.2, 0.0), (0.0, -0.2), (0.1, -0.15), (-0.2, -0.2)])
def test_perspective_is_fastais(x: float, y: float) -> None:
    draws = draws_with(WARP_X_amount=(x / 0.2 + 1) / 2, WARP_Y_amount=(y / 0.2 + 1) / 2)

    matrix = matrix_of(alone(warp=0.2), draws)

    assert in_unit_frame(matrix, CORNERS, 40) == pytest.approx(fastai_warp(CORNERS, x, y))


def test_all_together_are_composed_in_fastais_order() -> None:
    settings = alone(flip=1.0, rotate=10, zoom=1.1, warp=0.2, min_scale=0.5)
    draws = draws_with(ROTATE_amount=0.85, ZOOM_amount=0.8, WARP_X_amount=0.75, WARP_Y_amount=0.125)
    draws[0, ZOOM + 2 : ZOOM + 4] = 0.3, 0.9
    draws[0, CROP : CROP + 3] = 0.2, 0.7, (0.64 - 0.5) / 0.5

    seen = in_unit_frame(matrix_of(settings, draws), CORNERS, 40)

    # RandomResizedCropGPU, then flip, rotation and zoom, then perspective
    cropped = CORNERS * 0.8 + 0.2 * (2 * np.array([0.2, 0.7]) - 1)
    affine = np.diag([-1.0, 1.0, 1.0]) @ fastai_rotation(7.0) @ fastai_zoom(1.08, 0.3, 0.9)
    turned = (np.c_[cropped, np.ones(5)] @ affine.T)[:, :2]
    assert seen == pytest.approx(fastai_warp(turned, 0.1, -0.15))


def test_shear_slants_by_its_angle() -> None:
    matrix = matrix_of(alone(shear=30), draws_with(SHEAR_amount=0.75))

    assert in_unit_frame(matrix, CORNERS, 40)[:, 0] == pytest.approx(
        CORNERS[:, 0] + math.tan(math.radians(15)) * CORNERS[:, 1]
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"flip": 1.0}, [-0.3, -0.2]),
        ({"flip_vertical": 1.0}, [0.3, 0.2]),
        ({"transpose": 1.0}, [-0.2, 0.3]),
        ({"flip": 1.0, "transpose": 1.0}, [0.2, 0.3]),
        ({"flip_vertical": 1.0, "transpose": 1.0}, [-0.2, -0.3]),
    ],
)
def test_the_image_is_laid_down_in_every_way(settings: dict[str, float], expected: list[float]) -> None:
    matrix = matrix_of(alone(**settings), draws_with())

    assert in_unit_frame(matrix, CORNERS[4:], 40)[0] == pytest.approx(expected)


def test_a_turn_in_an_oblong_image_keeps_right_angles() -> None:
    matrices = training_matrices(
        alone(rotate=10), draws_with(ROTATE_amount=1.0), np.array([[60, 120]]), (30, 60), "crop"
    )

    change = jacobian(matrices[0], 5, 5)

    assert change @ change.T == pytest.approx(4 * np.eye(2))
    assert math.degrees(math.atan2(change[0, 1], change[0, 0])) == pytest.approx(10)


def test_shares_decide_how_many_rows_are_changed() -> None:
    num = 4_000
    draws = uniforms(0, 0, np.arange(num), NUM_DRAWS)
    sizes = np.full((num, 2), 40)

    flipped = training_matrices(alone(flip=0.5), draws, sizes, (40, 40), "crop")[:, 0, 0] < 0
    turned = training_matrices(dataclasses.replace(alone(rotate=10), affine_share=0.75), draws, sizes, (40, 40), "crop")

    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    assert (turned[:, 0, 1] != 0).mean() == pytest.approx(0.75, abs=0.03)
    angles = np.rad2deg(np.arcsin(turned[turned[:, 0, 1] != 0, 0, 1]))
    assert np.quantile(angles, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([-10, -5, 0, 5, 10], abs=0.6)


def test_a_crop_keeps_its_share_of_the_area_and_stays_inside() -> None:
    num = 4_000
    draws = uniforms(0, 0, np.arange(num), NUM_DRAWS)

    matrices = training_matrices(alone(min_scale=0.35), draws, np.full((num, 2), 40), (40, 40), "crop")

    seen = np.stack([in_unit_frame(matrix, CORNERS[[0, 3]], 40) for matrix in matrices])
    assert np.abs(seen).max() <= 1 + 1e-9
    areas = (seen[:, 1] - seen[:, 0]).prod(axis=1) / 4
    assert np.quantile(areas, [0, 0.5, 1]) == pytest.approx([0.35, 0.675, 1], abs=0.02)
    places = (seen[:, 0] + 1) / (2 - (seen[:, 1] - seen[:, 0]))
    for axis in (0, 1):
        parts = [0.02, 0.25, 0.5, 0.75, 0.98]
        assert np.quantile(places[:, axis], parts) == pytest.approx(parts, abs=0.03)


def test_a_crop_of_another_shape_has_fastais_distribution_of_shapes() -> None:
    num = 4_000
    draws = uniforms(0, 0, np.arange(num), NUM_DRAWS)
    settings = dataclasses.replace(alone(min_scale=0.35), ratio=(3 / 4, 4 / 3))

    matrices = training_matrices(settings, draws, np.full((num, 2), 40), (40, 40), "crop")

    widths, heights = matrices[:, 0, 0], matrices[:, 1, 1]
    assert max(widths.max(), heights.max()) <= 1
    expected = np.array(fastai_shapes(num))
    for ours, theirs in (
        (widths / heights, expected[:, 0] / expected[:, 1]),
        (widths * heights, expected.prod(axis=1)),
    ):
        parts = [0.02, 0.25, 0.5, 0.75, 0.98]
        assert np.quantile(ours, parts) == pytest.approx(np.quantile(theirs, parts), abs=0.03)


def fastai_shapes(num: int) -> list[tuple[float, float]]:
    """`RandomResizedCropGPU` of fastai 2.8 in an image without pixels: width and height as shares."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(num):
        for _attempt in range(10):
            area, ratio = draw.uniform(0.35, 1), math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
            width, height = math.sqrt(area * ratio), math.sqrt(area / ratio)
            if width <= 1 and height <= 1:
                break
        else:
            width = height = 1.0
        found.append((width, height))
    return found


def test_a_shape_that_never_fits_becomes_the_largest_of_the_nearest_shape() -> None:
    settings = dataclasses.replace(alone(min_scale=0.9), ratio=(4.0, 5.0))

    matrix = matrix_of(settings, draws_with())

    assert (matrix[0, 0], matrix[1, 1]) == pytest.approx((1, 1 / 4))
    assert in_unit_frame(matrix, np.zeros((1, 2)), 40) == pytest.approx(np.zeros((1, 2)))


@pytest.mark.parametrize("resize", ["crop", "squish", "pad"])
def test_a_source_of_the_networks_size_is_left_as_it_is(resize: str) -> None:
    assert np.array_equal(evaluation_matrices(resize, np.array([[30, 20]]), (30, 20))[0], np.eye(3))


@pytest.mark.parametrize(
    ("resize", "top_left", "bottom_right"),
    [
        # edges of the output in a source of 40 x 100; the output is 20 x 20
        ("crop", (29.5, -0.5), (69.5, 39.5)),
        ("squish", (-0.5, -0.5), (99.5, 39.5)),
        ("pad", (-0.5, -30.5), (99.5, 69.5)),
    ],
)
def test_evaluation_looks_at_the_center(
    resize: str, top_left: tuple[float, float], bottom_right: tuple[float, float]
) -> None:
    matrix = evaluation_matrices(resize, np.array([[40, 100]]), (20, 20))[0]

    assert (matrix @ [-0.5, -0.5, 1])[:2] == pytest.approx(top_left)
    assert (matrix @ [19.5, 19.5, 1])[:2] == pytest.approx(bottom_right)


def test_without_augmentation_training_differs_from_evaluation_by_the_crops_place_alone() -> None:
    draws = draws_with()
    draws[0, PLACE : PLACE + 2] = 0.0, 1.0
    sizes = np.array([[40, 100]])

    trained = training_matrices(augmentation_named("none"), draws, sizes, (20, 20), "crop")[0]
    answered = evaluation_matrices("crop", sizes, (20, 20))[0]

    assert trained[:2, :2] == pytest.approx(answered[:2, :2])
    assert (trained @ [19.5, 19.5, 1])[:2] == pytest.approx((99.5, 39.5))


def test_rows_do_not_depend_on_one_another() -> None:
    draws, sizes = uniforms(0, 0, np.arange(8), NUM_DRAWS), np.arange(16).reshape(8, 2) + 20
    settings = augmentation_named("strong")

    together = training_matrices(settings, draws, sizes, (16, 24), "crop")

    for row in range(8):
        apart = training_matrices(settings, draws[row : row + 1], sizes[row : row + 1], (16, 24), "crop")[0]
        assert apart == pytest.approx(together[row], rel=1e-12, abs=1e-12)


def test_shrink_is_the_least_over_the_corners() -> None:
    settings = alone(warp=0.2)
    matrix = training_matrices(settings, draws_with(WARP_X_amount=1.0), np.array([[400, 400]]), (100, 100), "crop")[0]

    factors = []
    for x, y in ((0, 0), (99, 0), (0, 99), (99, 99)):
        steps = [numeric_step(matrix, x, y, *step) for step in ((1e-4, 0), (0, 1e-4))]
        factors.append(np.linalg.svd(np.array(steps).T / 1e-4, compute_uv=False)[-1])
    assert shrink_of(matrix, (100, 100)) == pytest.approx(min(factors), rel=1e-3)
    assert min(factors) < 0.9 * max(factors)


def numeric_step(matrix: NDArray[np.float64], x: float, y: float, across: float, down: float) -> Any:
    here, there = matrix @ [x, y, 1], matrix @ [x + across, y + down, 1]
    return there[:2] / there[2] - here[:2] / here[2]


@pytest.mark.parametrize(("height", "width", "expected"), [(100, 300, 1.0), (300, 300, 3.0), (900, 300, 3.0)])
def test_shrink_takes_the_direction_that_shrinks_least(height: int, width: int, expected: float) -> None:
    matrix = evaluation_matrices("squish", np.array([[height, width]]), (100, 100))[0]

    assert shrink_of(matrix, (100, 100)) == pytest.approx(expected)


def test_a_rescaled_source_is_looked_at_in_the_same_place() -> None:
    sizes = np.array([[400, 600]])
    whole = evaluation_matrices("crop", sizes, (100, 100))

    halved = rescaled(whole, 0.5)

    assert halved == pytest.approx(evaluation_matrices("crop", sizes // 2, (100, 100)))
    assert rescaled(whole, (0.5, 0.5)) == pytest.approx(halved)


def test_an_unknown_way_to_resize_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no resize named 'corp'. Choices: crop, pad, squish"):
        evaluation_matrices("corp", np.array([[4, 4]]), (2, 2))
