"""Files that the commands wrote, asked elsewhere: a checkpoint by itself, its ONNX twin without torch, from many threads."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from tabvision.cli import main
from tabvision.inference import Predictor, export
from tests.made.pairs import make_frame
from tests.made.ratings import made_ratings
from tests.made.trained import raw, trained

ROOT = Path(__file__).parents[2]
LIGHTNING = ("pytorch_lightning", "lightning", "lightning_fabric", "torchmetrics")
FOREIGN = ("torch", "torchvision", *LIGHTNING)
SHORT = ("--epochs", "1", "--no-report")
ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
blocked = set(sys.argv[4].split())

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Blocked())
from tabvision import inference
opened = getattr(inference, sys.argv[2])(sys.argv[3])
print(opened.predict(json.loads(sys.argv[5])).to_json(orient="records", double_precision=15))
assert not blocked & set(sys.modules)
"""


def asked_elsewhere(kind: str, path: Path, source: Any, blocked: tuple[str, ...] = ()) -> pd.DataFrame:
    """The answers of a process that does nothing else."""
    words = [sys.executable, "-c", ASK, str(ROOT), kind, str(path), " ".join(blocked), json.dumps(source)]
    done = subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return pd.read_json(io.StringIO(done.stdout))


def train_table(folder: Path) -> Any:
    make_frame()[["x", "z", "job", "size", "paid"]].to_csv(folder / "rows.csv", index=False)
    main(["train", str(folder / "rows.csv"), "--target", "paid", *SHORT, "--out", str(folder / "run")])
    return json.loads(raw(4).to_json(orient="records"))


def train_photos(folder: Path) -> Any:
    draw, paths = np.random.default_rng(0), []
    for place in range(8):
        path = folder / "photos" / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    words = ["--body", "test_resnet", "--weights", "none", "--size", "32", *SHORT, "--out", str(folder / "run")]
    main(["train", str(folder / "photos"), *words])
    return paths


def train_ratings(folder: Path) -> Any:
    frame = made_ratings()
    frame.to_csv(folder / "ratings.csv", index=False)
    words = ["--user", "who", "--item", "film", "--target", "stars", *SHORT, "--out", str(folder / "run")]
    main(["train", str(folder / "ratings.csv"), *words])
    return json.loads(frame[["who", "film"]].head(5).to_json(orient="records"))


@pytest.mark.slow
def test_a_checkpoint_answers_without_lightning() -> None:
    rows, path = json.loads(raw(4).to_json(orient="records")), trained("binary")[0]

    answers = asked_elsewhere("Predictor", path, rows, LIGHTNING)

    assert_frame_equal(answers, Predictor(path).predict(rows), check_dtype=False, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("train", [train_table, train_photos, train_ratings])
def test_what_a_command_trained_answers_without_lightning_and_without_torch(train: Any, tmp_path: Path) -> None:
    source = train(tmp_path)
    checkpoint = tmp_path / "run" / "best.ckpt"
    expected = Predictor(checkpoint, device="cpu").predict(source)

    alone = asked_elsewhere("Predictor", checkpoint, source, LIGHTNING)
    twin = asked_elsewhere("OnnxPredictor", export(checkpoint, tmp_path / "net.onnx").path, source, FOREIGN)

    for answers in (alone, twin):
        assert_frame_equal(answers, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


def test_threads_that_mix_rows_and_photos_have_each_its_own_answers(tmp_path: Path) -> None:
    photos, rows = train_photos(tmp_path), raw(30)
    of_photos, of_rows = Predictor(tmp_path / "run" / "best.ckpt", device="cpu"), Predictor(trained("binary")[0])
    asked: list[tuple[Predictor, Any]] = [(of_photos, photos[place:]) for place in range(6)]
    asked += [(of_rows, rows.iloc[place:]) for place in range(6)]
    asked += [(of_rows, row) for row in rows.head(6).to_dict("records")]
    asked += [(of_photos, [photos[0], b"no photo"]), (of_photos, Path(photos[1]).read_bytes())]
    expected = [predictor.predict(source) for predictor, source in asked]

    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            found = list(pool.map(lambda each: each[0].predict(each[1]), asked))
            for answers, wanted in zip(found, expected, strict=True):
                assert_frame_equal(answers, wanted, rtol=1e-4, atol=1e-6)
