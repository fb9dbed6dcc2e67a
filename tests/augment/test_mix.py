"""Blends keep shares, boxes keep areas."""

import numpy as np
import pytest
import torch

from tabvision.augment.mix import blend_rows, box_of, fraction_outside, paste


def test_mixup_is_the_weighted_mean_of_two_rows() -> None:
    images = torch.rand(4, 3, 5, 5)
    lam, order = torch.tensor([1.0, 0.7, 0.5, 0.9]), torch.tensor([1, 0, 3, 2])

    mixed = blend_rows(images, lam, order)

    for row in range(4):
        own, other = lam[row], order[row]
        torch.testing.assert_close(mixed[row], own * images[row] + (1 - own) * images[other])


def test_cutmix_pastes_a_box_of_another_row() -> None:
    images = torch.rand(3, 3, 8, 8)
    order = torch.tensor([2, 0, 1])

    mixed = paste(images, (2, 6, 0, 2), order)

    assert torch.equal(mixed[:, :, 2:6, 0:2], images[order][:, :, 2:6, 0:2])
    assert torch.equal(mixed[:, :, :, 2:], images[:, :, :, 2:])
    assert fraction_outside((2, 6, 0, 2), (8, 8)) == 0.875


def test_the_input_is_left_alone() -> None:
    images = torch.rand(2, 3, 4, 4)
    before = images.clone()

    blend_rows(images, torch.tensor([0.5, 0.5]), torch.tensor([1, 0]))
    paste(images, (0, 4, 0, 4), torch.tensor([1, 0]))

    assert torch.equal(images, before)


def test_channels_last_memory_is_kept() -> None:
    images = torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last)

    mixed = blend_rows(images, torch.tensor([0.5, 0.5]), torch.tensor([1, 0]))

    assert mixed.is_contiguous(memory_format=torch.channels_last)
    assert paste(images, (0, 2, 0, 2), torch.tensor([1, 0])).is_contiguous(memory_format=torch.channels_last)


def test_boxes_are_fastais() -> None:
    draw = np.random.default_rng(0)
    for _ in range(200):
        lam, down, across = draw.random(3)
        height, width = (int(side) for side in draw.integers(1, 40, 2))

        box = box_of(lam, (down, across), (height, width))

        assert box == fastai_box(lam, int(down * height), int(across * width), height, width)
        assert 0 <= fraction_outside(box, (height, width)) <= 1


def fastai_box(lam: float, center_y: int, center_x: int, height: int, width: int) -> tuple[int, int, int, int]:
    """`CutMix.rand_bbox` of fastai 2.8, for a center that is drawn already."""
    cut_w, cut_h = round(width * (1 - lam) ** 0.5), round(height * (1 - lam) ** 0.5)
    x1, x2 = max(center_x - cut_w // 2, 0), min(center_x + cut_w // 2, width)
    y1, y2 = max(center_y - cut_h // 2, 0), min(center_y + cut_h // 2, height)
    return y1, y2, x1, x2


@pytest.mark.parametrize(("lam", "share"), [(1.0, 1.0), (0.0, 0.0), (0.75, 0.75)])
def test_a_box_in_the_middle_covers_what_lam_leaves(lam: float, share: float) -> None:
    assert fraction_outside(box_of(lam, (0.5, 0.5), (64, 64)), (64, 64)) == pytest.approx(share)
