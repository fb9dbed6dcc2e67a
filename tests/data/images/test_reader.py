"""Threads read what one thread reads, in order, and what goes wrong is said to who asks."""

import itertools
import multiprocessing
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from typing_extensions import override

from tabvision.data.images.decode import StoredImage, open_image
from tabvision.data.images.reader import BatchReader, Read, check_workers, single_threaded_cv2
from tabvision.data.images.stores import ImageStore, SourceStore
from tabvision.data.images.views import View
from tabvision.errors import BadTypeError, BadValueError
from tests.made.images import encoded, pixels

VIEW = View((16, 16), "crop")
SOURCES: list[Any] = [encoded(pixels(seed=seed)) for seed in range(50)]


def read(num_workers: int, sources: list[Any], batch_size: int = 20) -> list[Read]:
    reader = BatchReader(SourceStore(sources), VIEW, num_workers=num_workers)
    return list(
        reader.read_all(np.array_split(np.arange(len(sources)), range(batch_size, len(sources), batch_size)), 0)
    )


def test_any_number_of_threads_reads_the_same(subtests: pytest.Subtests) -> None:
    for num_workers, batch_size in itertools.product([1, 2, 7], [1, 20, 64]):
        with subtests.test(num_workers=num_workers, batch_size=batch_size):
            expected, found = read(0, SOURCES, batch_size), read(num_workers, SOURCES, batch_size)

            assert [batch.rows.tolist() for batch in found] == [batch.rows.tolist() for batch in expected]
            assert all(torch.equal(one.images, other.images) for one, other in zip(found, expected, strict=True))


def test_batches_are_uint8_in_channels_last_memory() -> None:
    batch = read(2, SOURCES)[0]

    assert (batch.images.shape, batch.images.dtype) == ((20, 3, 16, 16), torch.uint8)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_made_in_inference_mode_can_be_trained_on() -> None:
    with torch.inference_mode():
        batch = read(1, SOURCES)[0]

    assert not batch.images.is_inference()


@pytest.mark.parametrize("num_workers", [0, 3])
def test_what_cannot_be_read_has_an_error_and_the_others_stay(num_workers: int, tmp_path: Path) -> None:
    sources = [*SOURCES[:18], b"no image", tmp_path / "nowhere.jpg", SOURCES[0], b""]

    first, last = read(num_workers, sources)

    assert first.rows.tolist() == list(range(18))
    assert first.errors == {18: "not an image in a known format", 19: "no such file"}
    assert (last.rows.tolist(), last.errors) == ([20], {21: "0 bytes"})
    assert torch.equal(last.images[0], first.images[0])


def test_a_batch_of_nothing_readable_is_empty() -> None:
    (batch,) = read(2, [b"", b"x"])

    assert batch.images.shape == (0, 3, 16, 16)
    assert sorted(batch.errors) == [0, 1]


def test_images_of_every_kind_are_read_alike(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(pixels(), "PNG"))

    (batch,) = read(0, [pixels(), PilImage.fromarray(pixels()), tmp_path / "a.png", encoded(pixels(), "PNG")])

    assert all(torch.equal(image, batch.images[0]) for image in batch.images)


class Failing(ImageStore):
    @override
    def sources_of(self, rows: np.ndarray) -> list[np.ndarray]:
        return [pixels() for _ in rows]

    @override
    def open(self, row: int, source: np.ndarray) -> StoredImage:
        if row == 3:
            raise RuntimeError("a bug of ours")
        return open_image(source)

    @override
    def to_source(self, rows: np.ndarray) -> list[tuple[tuple[int, int], np.ndarray]]:
        return [(open_image(pixels()).size, np.eye(3)) for _ in rows]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_thread_s_own_error_reaches_who_asks(num_workers: int) -> None:
    reader = BatchReader(Failing(), View((4, 4), "crop"), num_workers=num_workers)
    batches = reader.read_all([np.array([place]) for place in range(5)], epoch=0)

    with pytest.raises(RuntimeError, match="a bug of ours"):
        list(batches)


def test_threads_stay_a_few_batches_ahead_and_no_more() -> None:
    taken = []

    def rows() -> Any:
        for place in range(50):
            taken.append(place)
            yield np.array([place])

    reader = BatchReader(SourceStore(SOURCES), View((4, 4), "crop"), num_workers=1)
    batches = reader.read_all(rows(), epoch=0)
    next(batches)

    assert reader.num_ahead == len(taken) - 1
    assert 2 <= reader.num_ahead < 25
    batches.close()  # type: ignore[attr-defined]


def test_opencv_gets_its_threads_back() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    with single_threaded_cv2(), single_threaded_cv2():
        inside = cv2.getNumThreads()
    after = cv2.getNumThreads()
    cv2.setNumThreads(before)

    assert (inside, after) == (1, 2)


@pytest.mark.parametrize(
    ("num_workers", "error", "sentence"),
    [
        (-1, BadValueError, "num_workers must be at least 0, got -1"),
        (1.5, BadTypeError, "must be a whole number, got 1.5"),
    ],
)
def test_a_wrong_number_of_threads_is_a_sentence(num_workers: Any, error: Any, sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        check_workers(num_workers)


def test_processes_share_the_cores() -> None:
    assert check_workers(None, num_processes=1000) == 1


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_forked_child_reads_after_the_parent_has_used_opencv(num_workers: int) -> None:
    """As with strategy="ddp_notebook": the child has none of the threads that its parent's OpenCV started."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    cv2.warpAffine(pixels(512, 512), np.eye(2, 3), (512, 512))
    time.sleep(0.5)  # its threads wait for work again
    children = [multiprocessing.get_context("fork").Process(target=read, args=(num_workers, SOURCES)) for _ in "ab"]

    for child in children:
        child.start()
    for child in children:
        child.join(30)
    ended = [child.exitcode for child in children]
    for child in children:
        child.kill()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(before)

    assert ended == [0, 0]
    assert threads == 2, "the parent's OpenCV has its threads again"
