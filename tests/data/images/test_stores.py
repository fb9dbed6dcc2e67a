"""Stores: presized images come from the cache, damaged ones as errors."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tabvision.data.images.cache import ImageCache, _FolderCache, _MemoryCache
from tabvision.data.images.decode import UnreadableImageError
from tabvision.data.images.files import ImageTable
from tabvision.data.images.stores import BadFiles, FileStore
from tabvision.data.images.views import Presize
from tabvision.errors import BadValueError
from tests.made.images import encoded, pixels

PRESIZE = Presize((10, 10), "crop", 1.1)


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_the_second_look_comes_from_the_cache_and_is_the_same(tmp_path: Path, kind: str) -> None:
    cache: ImageCache = _MemoryCache(10**6) if kind == "memory" else _FolderCache(tmp_path / "cache", "k", 2, 9999)
    (tmp_path / "a.png").write_bytes(encoded(pixels(40, 50), "PNG"))
    store = FileStore(ImageTable(pd.DataFrame({"image": [str(tmp_path / "a.png")]})), BadFiles(0), PRESIZE, cache)

    first, again = (store.open(0, str(tmp_path / "a.png")) for _ in range(2))

    assert first.size == (11, 14)
    assert np.array_equal(first.decode().pixels, again.decode().pixels)
    assert cache.get(0, cache.stamp(0, str(tmp_path / "a.png"))) is not None


def test_a_file_that_has_gone_is_an_error_and_no_stop(tmp_path: Path) -> None:
    table = ImageTable(pd.DataFrame({"image": [str(tmp_path / "a.png")]}))

    for cache in (None, _FolderCache(tmp_path / "cache", "k", 2, 9999)):
        with pytest.raises(UnreadableImageError):
            FileStore(table, BadFiles(0), PRESIZE, cache).open(0, str(tmp_path / "a.png"))


@pytest.mark.parametrize(
    ("num_files", "share", "allowed"), [(9, 0.01, 0), (20, 0.01, 2), (40, 0.01, 3), (999, 0.01, 9), (40, 0, 0)]
)
def test_a_few_damaged_files_are_borne_whatever_the_share_unless_it_is_0(
    num_files: int, share: float, allowed: int
) -> None:
    bad = BadFiles(share)
    bad.num_files = num_files
    for number in range(allowed):
        bad.add(f"{number}.jpg", "0 bytes")
    bad.check()
    bad.add("one more.jpg", "0 bytes")

    with pytest.raises(BadValueError, match=rf"more than bad_share={share} allows"):
        bad.check()


def test_up_to_the_share_damaged_files_are_borne() -> None:
    bad = BadFiles(0.2)
    bad.num_files = 10
    bad.add("a.jpg", "0 bytes")
    bad.add("b.jpg", "0 bytes")
    bad.check()
    bad.add("c.jpg", "no such file")

    with pytest.raises(BadValueError, match=r"3 of 10 images cannot be read so far, more than bad_share=0.2 allows"):
        bad.check()
