"""The cache gives back what it was given, notices what changed, and never takes half an image for a whole one."""

import os
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from tabvision.data.images import cache as image_cache
from tabvision.data.images.cache import _ENTRY, ImageCache, _FolderCache, _MemoryCache, make_cache
from tabvision.data.images.views import Presize
from tabvision.data.memory import memory_limit
from tabvision.errors import BadTypeError, BadValueError
from tests.made.commands import Forked
from tests.made.images import pixels

PRESIZE = Presize((16, 16), "crop", 1.15)


def folder_cache(folder: Path) -> _FolderCache:
    return _FolderCache(folder, "train-key", num_rows=5, slot_bytes=4000)


@pytest.fixture(params=["memory", "folder"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> ImageCache:
    return _MemoryCache(10**6) if request.param == "memory" else folder_cache(tmp_path)


def test_cached_rows_are_counted(cache: ImageCache) -> None:
    for row in (3, 1, 3):
        cache.put(row, 7, np.full((4, 5, 3), row, np.uint8))

    assert cache.num_cached() == 2


def test_what_was_put_is_there(cache: ImageCache) -> None:
    cache.put(3, 7, pixels())
    cache.put(1, 7, pixels(10, 8))

    found = cache.get(3, 7)

    assert found is not None
    assert np.array_equal(found, pixels())
    assert np.array_equal(cache.get(1, 7), pixels(10, 8))  # type: ignore[arg-type]
    assert cache.get(2, 7) is None


def test_a_changed_file_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    cache, file = folder_cache(tmp_path / "cache"), tmp_path / "a.jpg"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1))
    before = cache.stamp(0, str(file))
    cache.put(0, before, pixels())

    assert cache.stamp(0, str(file)) == before
    os.utime(file, ns=(2, 2))
    assert cache.stamp(0, str(file)) != before
    assert cache.get(0, cache.stamp(0, str(file))) is None
    file.write_bytes(b"two")  # and size and time as they were
    os.utime(file, ns=(1, 1))
    assert folder_cache(tmp_path / "cache").stamp(0, str(file)) != before
    assert cache.get(0, before) is not None


def test_another_process_reads_what_one_has_written_and_both_may_write(tmp_path: Path) -> None:
    one, other = folder_cache(tmp_path), folder_cache(tmp_path)
    one.put(0, 5, pixels())
    other.put(0, 5, pixels())
    other.put(4, 5, pixels(seed=1))

    for cache in (one, other, folder_cache(tmp_path)):
        assert np.array_equal(cache.get(0, 5), pixels())  # type: ignore[arg-type]
        assert np.array_equal(cache.get(4, 5), pixels(seed=1))  # type: ignore[arg-type]


def test_what_an_interrupted_writer_left_or_nonsense_is_not_read(tmp_path: Path) -> None:
    cache = folder_cache(tmp_path)
    cache.put(2, 5, pixels())
    with (cache.folder / "pixels.bin").open("r+b") as file:
        file.seek(2 * cache.slot_bytes + 100)
        file.write(bytes(50))
    assert folder_cache(tmp_path).get(2, 5) is None

    cache = folder_cache(tmp_path)
    np.array([(5, 0, 60_000, 60_000, 0)] * 5, _ENTRY).tofile(cache.folder / "entries.bin")
    assert folder_cache(tmp_path).get(2, 5) is None


def test_other_settings_have_files_of_their_own(tmp_path: Path) -> None:
    cache = folder_cache(tmp_path)
    cache.put(0, 5, pixels())

    assert _FolderCache(tmp_path, "train-other", num_rows=5, slot_bytes=4000).get(0, 5) is None
    assert _FolderCache(tmp_path, "train-key", num_rows=6, slot_bytes=4000).get(0, 5) is None


def test_what_does_not_fit_is_not_kept(tmp_path: Path) -> None:
    memory, folder = _MemoryCache(2 * pixels().nbytes), folder_cache(tmp_path)
    for row in range(3):
        memory.put(row, 1, pixels())
    folder.put(0, 1, pixels(90, 90))

    assert [memory.get(row, 1) is None for row in range(3)] == [False, False, True]
    assert folder.get(0, 1) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_ends_the_keeping_not_the_run(tmp_path: Path) -> None:
    cache = folder_cache(tmp_path)
    cache._pixels.close()
    cache._pixels = FileIO("/dev/full", "r+")

    cache.put(0, 5, pixels())

    assert cache.get(0, 5) is None
    assert cache.problem.endswith("takes no more: No space left on device")
    cache._pixels.close()


def test_the_files_are_sparse(tmp_path: Path) -> None:
    cache = _FolderCache(tmp_path, "key", num_rows=100_000, slot_bytes=400_000)

    assert (cache.folder / "pixels.bin").stat().st_blocks * 512 < 10**6


def test_what_is_read_before_it_is_written_has_its_space(tmp_path: Path) -> None:
    cache = _FolderCache(tmp_path, "key", num_rows=10_000, slot_bytes=400_000)

    entries = (cache.folder / "entries.bin").stat()
    assert entries.st_size == 10_000 * _ENTRY.itemsize
    assert entries.st_blocks * 512 >= entries.st_size  # on a full disk in memory, reading a hole would end the process


def test_forked_processes_that_share_an_open_cache_write_each_where_it_means(tmp_path: Path) -> None:
    cache = _FolderCache(tmp_path, "key", num_rows=9, slot_bytes=4_000)
    files = (cache._pixels, cache._entries)
    before = [file.tell() for file in files]

    cache.put(7, 5, pixels())

    assert [file.tell() for file in files] == before  # where a write at the position of another process would go
    found = cache.get(7, 5)
    assert found is not None
    assert np.array_equal(found, pixels())


@pytest.mark.parametrize("name", ["pixels.bin", "entries.bin"])
def test_a_file_that_is_cut_short_meanwhile_is_decoded_anew_and_ends_no_process(tmp_path: Path, name: str) -> None:
    cache = _FolderCache(tmp_path, "key", num_rows=1_000, slot_bytes=4_000)
    for row in (0, 999):
        cache.put(row, 5, pixels())
    os.truncate(cache.folder / name, 10)

    status, _, told = Forked(lambda: sum(cache.get(row, 5) is not None for row in (0, 999))).ended()

    assert (status, told) == (0, "")


def test_auto_takes_memory_only_where_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "_AUTO_BYTES", 10**6)

    assert isinstance(make_cache("auto", PRESIZE, 300, num_slots=300, part="train"), _MemoryCache)
    assert make_cache("auto", PRESIZE, 3000, num_slots=3000, part="train") is None
    assert isinstance(make_cache("memory", PRESIZE, 3000, num_slots=3000, part="train"), _MemoryCache)
    assert make_cache(None, PRESIZE, 1, num_slots=1, part="train") is None


def test_a_container_may_have_less_memory_than_the_machine() -> None:
    assert 0 < memory_limit() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_a_system_that_does_not_tell_its_memory_is_taken_to_have_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")

    assert 0 < memory_limit(unknown=5) <= 1 << 63
    assert isinstance(make_cache("auto", PRESIZE, 300, num_slots=300, part="train"), _MemoryCache)


def test_a_wish_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadTypeError, match='cache must be "auto", "memory", a folder or None, got 3'):
        make_cache(3, PRESIZE, 1, num_slots=1, part="train")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(
        BadValueError, match=r"the cache '.*file' cannot be written: .*Pass another folder, or cache=None"
    ):
        make_cache(tmp_path / "file", PRESIZE, 1, num_slots=1, part="train")
