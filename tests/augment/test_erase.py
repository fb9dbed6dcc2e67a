"""Boxes of noise as fastai draws them, each row's own."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from tabvision.augment.erase import NUM_DRAWS, erase_batch, erase_boxes, noise_seeds
from tabvision.augment.settings import PRESETS, Augmentation
from tabvision.counter_random import uniforms

ALWAYS = Augmentation(erase=1.0)


def test_boxes_lie_inside_with_fastais_shapes_in_a_share_of_the_rows() -> None:
    draws = uniforms(0, 0, np.arange(4_000), NUM_DRAWS)
    boxes = erase_boxes(ALWAYS, draws, (200, 100))
    top, bottom, left, right = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert bottom.max() == 200
    assert right.max() == 100
    shares = (bottom - top) * (right - left) / 20_000
    assert np.quantile(shares, [0, 0.5]) == pytest.approx([0, 0.15], abs=0.02)
    whole = (bottom - top < 200) & (right - left < 100) & (right - left > 5) & (bottom - top > 5)
    shapes = np.log((bottom - top)[whole] / (right - left)[whole])
    assert np.abs(shapes).max() < -math.log(0.3) + 0.2

    boxes = erase_boxes(dataclasses.replace(ALWAYS, erase=0.25), draws, (64, 64))
    assert (boxes[:, 1] > boxes[:, 0]).mean() == pytest.approx(0.25, abs=0.02)
    top, bottom, left, right = erase_boxes(PRESETS["default"], draws, (64, 64)).T
    assert (bottom == top).all()
    assert (right == left).all()


def test_noise_fills_the_boxes_alone_and_is_the_rows_own() -> None:
    draws = uniforms(0, 0, np.arange(6), NUM_DRAWS)
    boxes, seeds = erase_boxes(ALWAYS, draws, (64, 64)), noise_seeds(draws)

    erased = erase_batch(torch.full((6, 3, 64, 64), 9.0), boxes, seeds)

    for row, (top, bottom, left, right) in enumerate(boxes.tolist()):
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[top:bottom, left:right] = True
        assert bool((erased[row][:, ~inside] == 9).all())
        assert not bool((erased[row][:, inside] == 9).any())
        alone = erase_batch(torch.full((1, 3, 64, 64), 9.0), boxes[row : row + 1], seeds[row : row + 1])
        assert torch.equal(alone[0], erased[row])


def test_noise_has_mean_0_and_spread_1_and_leaves_torchs_generator() -> None:
    before = torch.get_rng_state()

    noise = erase_batch(torch.zeros(1, 3, 100, 100), np.array([[0, 100, 0, 100]]), np.array([5]))

    assert float(noise.mean()) == pytest.approx(0, abs=0.03)
    assert float(noise.std()) == pytest.approx(1, abs=0.03)
    assert torch.equal(torch.get_rng_state(), before)
