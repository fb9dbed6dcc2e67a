"""A disk that is full: a sentence, and no file that is cut short under its final name. And too little memory."""

import errno
import gc
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from tabvision.cli import _file_error, main
from tabvision.errors import UnwritableFileError
from tests.made.commands import Forked
from tests.made.sweeps import slow_but
from tests.made.tables import TRAIN

pytestmark = pytest.mark.usefixtures("folder")

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
CHECKPOINT = "runs/people/best.ckpt"
FIT = ["fit", "--config", "runs/people/recipe.yaml", "--trainer.enable_progress_bar=false"]


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """No file can grow larger, as on a full disk; Python ignores the signal."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("run")
@pytest.mark.parametrize(
    ("words", "num_bytes", "file"),
    [
        ([*TRAIN, "--out", "new"], 40_000, "new/best.ckpt"),
        ([*TRAIN, "--out", "new"], 100, "new/recipe.yaml"),
        (["predict", CHECKPOINT, "people.csv", "--out", "new.csv"], 1_000, "new.csv"),
        (["predict", CHECKPOINT, "people.csv", "--out", "new.parquet"], 1_000, "new.parquet"),
        (["calibrate", CHECKPOINT, "people.csv", "--out", "new.ckpt"], 40_000, "new.ckpt"),
        (["export", CHECKPOINT, "--out", "new.pt2"], 40_000, "new.pt2"),
        ([*FIT, "--trainer.logger.init_args.save_dir=new"], 40_000, "best.ckpt"),
    ],
    ids=lambda value: "_".join(value[:1]) if isinstance(value, list) else str(value),
)
def test_a_full_disk_is_a_sentence_and_leaves_no_cut_file(
    words: list[str], num_bytes: int, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with files_up_to(num_bytes):
        assert main(words) == 2
    gc.collect()  # the error kept what was to be written; to free it must not end the process, nor raise

    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("tabvision")
    assert f"{file}' could not be written (File too large). Free space on the disk, or choose another folder." in last
    written = {path.name for path in Path().rglob("*") if "new" in str(path) and path.is_file()}
    assert written <= {"recipe.yaml", "hparams.yaml", "metrics.csv"}


@pytest.mark.usefixtures("run")
def test_a_full_disk_leaves_the_older_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    older = Path("older.ckpt")
    older.write_bytes(Path(CHECKPOINT).read_bytes())
    with files_up_to(40_000):
        assert main(["calibrate", CHECKPOINT, "people.csv", "--out", str(older), "--overwrite"]) == 2

    assert "could not be written" in capsys.readouterr().err
    assert older.read_bytes() == Path(CHECKPOINT).read_bytes()


@pytest.mark.parametrize("unbuffered", slow_but([""], ["", "1"]))
def test_output_that_goes_to_a_full_disk(unbuffered: str) -> None:
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "tabvision", "--help"]  # Python itself writes at its end
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        told = [(done.returncode, done.stderr)]
        status, _, errors = Forked(main, ["check-images", "none"], stdout=full).ended()
    told.append((status or 0, errors))

    sentences = [
        "tabvision: a file, or what a command prints, could not be written (No space left on device).",
        "tabvision check-images: no folder 'none'.",
    ]
    for (status, errors), sentence in zip(told, sentences, strict=True):
        assert status == 2
        assert errors.startswith(sentence)
        assert len(errors.splitlines()) == 1


def test_an_error_before_that_of_the_disk_is_not_hidden() -> None:
    full = OSError(errno.ENOSPC, "full")
    full.__context__ = ZeroDivisionError("of training")

    with pytest.raises(OSError, match="full") as caught:
        _file_error(full)

    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_a_disk_that_names_no_file_is_told() -> None:
    assert str(_file_error(OSError(errno.ENOSPC, "full"))).startswith(
        "a file, or what a command prints, could not be written (No"
    )


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.EACCES, "Check who may read it"), (errno.EMFILE, "Allow more open files"), (errno.EIO, "Check the disk")],
)
def test_a_file_that_cannot_be_opened_is_a_sentence(
    number: int, remedy: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "as the system says", "best.ckpt")

    Path("best.ckpt").touch()
    monkeypatch.setattr(Path, "read_bytes", refuse)

    assert main(["export", "best.ckpt", "--out", "new.onnx"]) == 2

    assert f"tabvision: 'best.ckpt' cannot be opened ({os.strerror(number)}). {remedy}" in capsys.readouterr().err


def test_the_first_file_that_could_not_be_written_is_named() -> None:
    closing = OSError(errno.ENOSPC, "full")
    closing.__context__ = UnwritableFileError("best.ckpt", OSError(errno.ENOSPC, "full"))

    assert "'best.ckpt' could not be written (No space left on device)" in str(_file_error(closing))


def _fill_a_gpu() -> None:
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has 1.00 GiB free.\nSee the docs"
    )


@pytest.mark.parametrize(
    ("fail", "sentence"),
    [
        (lambda: np.empty(1 << 50), "out of memory: Unable to allocate 8.00 PiB for an array"),
        (lambda: torch.empty(1 << 50), "out of memory: .*can't allocate memory"),
        (_fill_a_gpu, "the GPU is out of memory: CUDA out of memory"),
    ],
)
def test_memory_that_does_not_suffice_is_one_sentence(
    fail: Callable[[], object], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tabvision.cli.compare.run", lambda _: fail())

    assert main(["compare", "runs"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"tabvision: {sentence}.* Pass a smaller --batch-size", error)


def test_another_error_of_torchs_is_not_about_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabvision.cli.compare.run", lambda _: torch.empty(2) @ torch.empty(3))

    with pytest.raises(RuntimeError, match="size"):
        main(["compare", "runs"])
