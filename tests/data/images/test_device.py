"""The last steps give what a module sees: normalized float images, and nothing left to do."""

from typing import Any, cast

import pytest
import torch

from tabvision.batch import Batch
from tabvision.data.images.device import finished, moved
from tabvision.errors import BadTypeError


def batch_of(**others: Any) -> Batch:
    image = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    return cast("Batch", {"image": image, "index": torch.arange(2), **others})


@pytest.mark.parametrize("given", [True, False])
def test_images_are_normalized_by_the_statistics_or_imagenets(given: bool) -> None:
    batch = batch_of()
    mean, spread = ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]) if given else ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

    image = finished(batch, mean if given else (), spread if given else ())["image"]

    expected = (batch["image"] / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(spread)[:, None, None]
    torch.testing.assert_close(image, expected)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_finished_images_are_left_as_they_are() -> None:
    once = finished(batch_of(), (), ())

    assert finished(once, (), ()) is once


def test_a_device_warps_and_lights_what_the_threads_left_to_it() -> None:
    batch = batch_of(
        matrix=torch.diag(torch.tensor([-1.0, 1.0, 1.0])).repeat(2, 1, 1)
        + torch.tensor([[0, 0, 5.0], [0, 0, 0], [0, 0, 0]]),
        light=torch.tensor([[0.0, 1.0], [0.0, 1.0]]),
        size=torch.tensor([6, 6]),
    )
    plain = finished(batch_of(image=batch["image"].flip(3)), (), ())["image"]

    found = finished(batch, (), ())

    torch.testing.assert_close(found["image"], plain, atol=1e-4, rtol=1e-4)
    assert found.keys() == {"image", "index"}


def test_noise_covers_the_box_of_its_row_alone() -> None:
    box = torch.tensor([[1, 4, 2, 5], [0, 0, 0, 0]])
    batch = batch_of(box=box, noise=torch.tensor([3, 4]))
    plain = finished(batch_of(image=batch["image"]), (), ())["image"]

    changed = finished(batch, (), ())["image"] != plain

    assert changed[0, :, 1:4, 2:5].all()
    assert int(changed.sum()) == 27


def test_an_own_augmentation_gets_bytes_and_the_numbers_of_each_row() -> None:
    numbers = torch.rand(2, 16)
    batch = batch_of(own=numbers, matrix=torch.eye(3).repeat(2, 1, 1), size=torch.tensor([6, 6]))

    def invert(images: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.uint8
        assert (images.int() - batch["image"].int()).abs().max() <= 1
        assert given is numbers
        return 255 - images

    found = finished(batch, (), (), invert)

    expected = finished(batch_of(image=255 - batch["image"]), (), ())["image"]
    torch.testing.assert_close(found["image"], expected, atol=0.02, rtol=0)
    assert found.keys() == {"image", "index"}


def test_an_own_augmentation_that_returns_something_else_is_refused() -> None:
    wrongs: list[Any] = [lambda images, _: images.float(), lambda images, _: images[:1], lambda *_: None]
    for wrong in wrongs:
        with pytest.raises(BadTypeError, match=r"your augmentation must return uint8 images of shape \(2, 3, 6, 6\)"):
            finished(batch_of(own=torch.rand(2, 16)), (), (), wrong)


def test_what_the_processor_looks_at_stays_there() -> None:
    batch = batch_of(matrix=torch.eye(3).repeat(2, 1, 1), light=torch.ones(2, 2))
    seen: list[set[str]] = []

    def move(rest: Batch) -> Batch:
        seen.append(set(rest))
        return rest

    assert moved(batch, move).keys() == batch.keys()
    assert seen == [{"image", "index", "light"}]
