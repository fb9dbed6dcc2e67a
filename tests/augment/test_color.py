"""Brightness and contrast are fastai's, as a table and on a device."""

import dataclasses

import numpy as np
import pytest
import torch

from tabvision.augment.color import NUM_DRAWS, light_batch, lighting_strengths, lighting_tables
from tabvision.augment.settings import PRESETS, Augmentation
from tabvision.counter_random import uniforms

ALWAYS = Augmentation(lighting_share=1.0)


def test_brightness_then_contrast_is_fastais_formula() -> None:
    # brightness: 0.5 * (1 - 0.2) to 0.5 * (1 + 0.2); contrast: exp of log(0.8) to -log(0.8); 2.8 `_BrightnessLogit`
    draws = np.array([[0.0, 0.75, 0.0, 0.25]])

    table = lighting_tables(ALWAYS, draws)[0]

    shares = torch.arange(1, 255, dtype=torch.float64) / 255
    change, factor = 0.4 + 0.2 * 0.75, np.exp(np.log(0.8) * 0.5)
    expected = torch.sigmoid((torch.logit(shares) + np.log(change / (1 - change))) * factor)
    assert np.abs(table[1:255] - 255 * expected.numpy()).max() <= 0.5


def test_strengths_have_fastais_distributions() -> None:
    draws = uniforms(0, 0, np.arange(8_000), NUM_DRAWS)

    brightness, contrast = lighting_strengths(Augmentation(), draws)

    changed = brightness != 0
    assert changed.mean() == pytest.approx(0.75, abs=0.02)
    greys = 1 / (1 + np.exp(-brightness[changed]))
    assert np.quantile(greys, [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([0.4, 0.45, 0.5, 0.55, 0.6], abs=0.005)
    logs = np.log(contrast[contrast != 1])
    assert len(logs) / len(draws) == pytest.approx(0.75, abs=0.02)
    assert np.quantile(logs / np.log(0.8), [0, 0.25, 0.5, 0.75, 1]) == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.03)
    assert abs(np.corrcoef(changed, contrast != 1)[0, 1]) < 0.05, "each is drawn for itself"


def test_no_lighting_leaves_every_value() -> None:
    tables = lighting_tables(PRESETS["none"], uniforms(0, 0, np.arange(5), NUM_DRAWS))

    assert np.array_equal(tables, np.tile(np.arange(256, dtype=np.uint8), (5, 1)))


def test_tables_rise_and_keep_black_and_white() -> None:
    strong = dataclasses.replace(ALWAYS, brightness=0.4, contrast=0.4)

    tables = lighting_tables(strong, uniforms(0, 0, np.arange(500), NUM_DRAWS)).astype(int)

    assert (np.diff(tables) >= 0).all()
    assert (tables[:, 0] == 0).all()
    assert (tables[:, 255] == 255).all()


def test_a_table_and_a_device_agree() -> None:
    draws = uniforms(0, 0, np.arange(20), NUM_DRAWS)
    images = torch.arange(256).float().div(255).reshape(1, 1, 16, 16).expand(20, 3, 16, 16)

    lit = light_batch(images, *map(torch.from_numpy, lighting_strengths(ALWAYS, draws)))

    tables = lighting_tables(ALWAYS, draws)
    assert np.abs(lit[:, 1].reshape(20, 256).numpy() * 255 - tables).max() <= 0.501
    assert images.max() == 1, "the input is left alone"
