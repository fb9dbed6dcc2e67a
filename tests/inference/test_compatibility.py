"""Checkpoints of earlier releases open and answer as they did; of other formats they say what to do."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from tabvision import __version__
from tabvision.errors import BadValueError
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import read_checkpoint
from tabvision.modules.network import CHECKPOINT_FORMAT
from tests.fixtures.write_checkpoint import FOLDER, ROWS

KEPT = sorted(FOLDER.glob("tabvision-*.ckpt"))


def test_a_checkpoint_of_this_release_is_kept() -> None:
    assert FOLDER / f"tabvision-{__version__}.ckpt" in KEPT, "run python -m tests.fixtures.write_checkpoint"


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_checkpoint_opens_and_answers_as_it_did(path: Path) -> None:
    answers = Predictor(path, device="cpu").predict(ROWS)

    expected = pd.DataFrame(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    pd.testing.assert_frame_equal(answers, expected, check_dtype=False, rtol=1e-4)
    assert path.stat().st_size < 40_000


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_checkpoint_says_who_wrote_it(path: Path) -> None:
    facts = read_checkpoint(path)["tabvision"]

    assert path.stem == f"tabvision-{facts['version']}"
    assert 1 <= facts["format"] <= CHECKPOINT_FORMAT


def with_format(number: object) -> bytes:
    checkpoint = torch.load(KEPT[0], weights_only=True)
    checkpoint["tabvision"]["format"] = number
    file = io.BytesIO()
    torch.save(checkpoint, file)
    return file.getvalue()


@pytest.mark.parametrize("number", [CHECKPOINT_FORMAT + 1, 99, "1", None, True])
def test_a_newer_format_asks_for_an_update(number: object) -> None:
    with pytest.raises(
        BadValueError, match=rf"has format {number!r}, and {CHECKPOINT_FORMAT} is the newest.*Update tab"
    ):
        Predictor(with_format(number))


@pytest.mark.parametrize("number", [0, -3])
def test_an_older_format_names_the_version_that_opens_it(number: int) -> None:
    with pytest.raises(BadValueError, match=rf"has format {number}, and 1 is the oldest.*Open it with tabvision \d"):
        Predictor(with_format(number))
