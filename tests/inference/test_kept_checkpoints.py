"""Checkpoints of every kind that an earlier state of the library wrote open through every door, and answer as they did.

Nothing here names a file of the library: only what users import, so that moving its parts is no reason to change a line.
"""

import functools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tabvision.cli import main
from tabvision.errors import BadValueError
from tabvision.inference import OnnxPredictor, Predictor, export
from tests.fixtures.skeletons import FOLDER, KINDS, USER, Kind, build, columns_of, kept, predicted
from tests.made.sweeps import slow_but

OWN_BODY = "photo-own-body"
RTOL, ATOL = 1e-4, 1e-6  # other machines round otherwise


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is gone after the test: pytest's own would keep a gigabyte of checkpoints."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@functools.lru_cache(maxsize=1)
def checkpoint(name: str) -> bytes:
    """Built once for all doors; as bytes, since 45 MB are quicker written than made up."""
    return build(kept(name)["checkpoint"])


def on_disk(name: str, folder: Path) -> Path:
    path = folder / f"{name}.ckpt"
    path.write_bytes(checkpoint(name))
    return path


def by_predictor(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    return Predictor(on_disk(name, folder), device="cpu", **kind.opening()).predict(kind.inputs(folder))


def opened(name: str, kind: Kind, folder: Path) -> Any:
    path = on_disk(name, folder)
    return kind.module_class.load_from_checkpoint(path, map_location="cpu", weights_only=True, **kind.opening())


def by_module(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    """A Trainer's predictions; no calibration is in them."""
    module = opened(name, kind, folder)
    return pd.DataFrame(predicted(module, kind.datamodule(folder, module.schema)))


def by_onnx(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    path = folder / "model.onnx"
    if kind.own_body:  # no checkpoint holds it
        export(on_disk(name, folder), path, **kind.opening())
    else:
        assert main(["export", str(on_disk(name, folder)), "--out", str(path)]) == 0
    return OnnxPredictor(path, threads=1).predict(kind.inputs(folder))


def by_command(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    path, out, inputs = on_disk(name, folder), folder / "answers.csv", kind.inputs(folder)
    data = folder / "rows.csv"
    if not kind.is_photos:
        pd.DataFrame(inputs).to_csv(data, index=False)
    words = [str(each) for each in inputs] if kind.is_photos else [str(data)]
    assert main(["predict", str(path), *words, "--out", str(out), "--device", "cpu"]) == 0
    answers = pd.read_csv(out)
    before = 1 if kind.is_photos else 2 if name.startswith("collab") else 0  # the path; user and item
    return answers.iloc[:, before:]


def by_memory(name: str, kind: Kind, folder: Path) -> pd.DataFrame:
    """A module in memory; no calibration is in it."""
    return Predictor(opened(name, kind, folder), device="cpu").predict(kind.inputs(folder))


DOORS: dict[str, Callable[[str, Kind, Path], pd.DataFrame]] = {
    "memory": by_memory,
    "predictor": by_predictor,
    "module": by_module,
    "onnx": by_onnx,
    "command": by_command,
}
CLOSED = {
    (OWN_BODY, "command"),  # only who has the network opens it
    *((name, "memory") for name, kind in KINDS.items() if kind.calibrate is not None),
}


EXPORTED = [OWN_BODY, "tabular-calibrated"]  # an export takes up to ten seconds
QUICK = [  # the other doors lead to the predictor, or to what it opens
    (name, door)
    for name, kind in KINDS.items()
    for door in DOORS
    if name in EXPORTED
    or (door == "predictor" and name != "photo-resnet18")  # 45 MB; mobilenet is torchvision's as well
    or (door == "module" and not kind.is_photos)
]
OPEN = [
    (name, door)
    for name in KINDS
    for door in DOORS
    if (name, door) not in CLOSED
    and (door != "onnx" or name in (*EXPORTED, "collab-implicit", "photo-points", "photo-timm", "tabular-dates"))
]


@pytest.mark.parametrize(("name", "door"), slow_but(QUICK, OPEN))
def test_a_kept_checkpoint_answers_as_it_did(name: str, door: str, folder: Path) -> None:
    answers = columns_of(DOORS[door](name, KINDS[name], folder))

    predictions = np.array(kept(name)["predictions"])
    expected = {str(place): column for place, column in enumerate(predictions.T.tolist())}
    if door != "module":
        expected = kept(name)["answers"]
    assert_close(answers, expected)


def assert_close(answers: dict[str, list[Any]], expected: dict[str, list[Any]]) -> None:
    """The same columns, words alike and numbers almost."""
    assert [*answers] == [*expected]
    for column, values in expected.items():
        if isinstance(values[0], str):
            assert answers[column] == values
        else:
            np.testing.assert_allclose(answers[column], values, rtol=RTOL, atol=ATOL, err_msg=column)


@pytest.mark.parametrize("name", [name for name in KINDS if name.startswith("collab")])
def test_kept_ratings_still_know_the_pairs_that_were_seen(name: str, folder: Path) -> None:
    out = folder / "films.csv"
    assert main(["recommend", str(on_disk(name, folder)), "--user", str(USER), "--out", str(out)]) == 0

    assert_close(columns_of(pd.read_csv(out)), kept(name)["recommended"])


def test_a_body_of_the_users_own_is_asked_for(folder: Path) -> None:
    with pytest.raises(BadValueError, match=r"trained with a body of your own.*Pass it again: load_from_checkpoint"):
        Predictor(on_disk(OWN_BODY, folder), device="cpu")


def test_every_kind_is_kept_in_a_small_file() -> None:
    files = list(FOLDER.glob("*.json"))

    assert {path.stem for path in files} == set(KINDS)
    assert max(path.stat().st_size for path in files) < 60_000
    assert sum(path.stat().st_size for path in files) < 400_000
