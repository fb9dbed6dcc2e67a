"""docs/deploy.md is executed: every block, against a model that was just trained and servers that are really asked."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
from PIL import Image

from tabvision.data import TabularDataModule
from tabvision.inference import Predictor
from tabvision.modules import TabularModule, VisionModule
from tests.made.pairs import Pair
from tests.made.servers import running
from tests.made.trainers import quiet_trainer, saved
from tests.test_readme import SHELL, Block, find_blocks, run_python, run_shell

GUIDE = "docs/deploy.md"
ROOT = Path(__file__).parents[1]


def people(rows: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": draw.integers(20, 70, rows), "job": draw.choice(["cook", "nurse"], rows)})
    return frame.assign(paid=np.where(frame["age"] + 12 * draw.normal(size=rows) > 45, "yes", "no"))


RECIPE = """
trainer: {max_epochs: 1, accelerator: cpu, logger: false, enable_checkpointing: false}
model: {class_path: tabvision.modules.TabularModule}
data: {class_path: tabvision.data.TabularDataModule, init_args: {source: validation.csv, target: paid, batch_size: 20}}
"""


def prepared() -> dict[str, object]:
    """What the guide takes as given: a checkpoint, rows to answer and to calibrate by, a photo, a recipe, a module."""
    pl.seed_everything(0, verbose=False)
    people(60, seed=1).to_csv("validation.csv", index=False)
    people(9, seed=2).drop(columns="paid").to_csv("new_rows.csv", index=False)
    data = TabularDataModule(people(200, seed=0), "paid", predict="new_rows.csv", batch_size=20, verbose=False)
    module = TabularModule(data.schema, widths=[8], lr=0.01)
    trainer = quiet_trainer(max_epochs=4)
    trainer.fit(module, data)
    trainer.save_checkpoint("best.ckpt")
    Path("recipe.yaml").write_text(RECIPE, encoding="utf-8")
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save("cat.jpg")
    return {"__name__": "__main__", "module": module, "data": data}


@contextmanager
def serving(command: str) -> Iterator[str]:
    """The port of the guide's own command, on one that is free."""
    words = command.split("#", maxsplit=1)[0].replace("8000", "0").split()
    scripts = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=os.environ | {"PATH": scripts})
    assert process.stdout is not None
    try:
        (port,) = re.findall(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def serving_photos() -> Iterator[str]:
    pair = Pair(VisionModule, "multiclass")
    saved(pair.module(pair.data().schema), Path("photos.ckpt"))
    with running(Predictor("photos.ckpt", device="cpu")) as client:
        yield str(client.base_url.port)


def ask(block: Block, port: str) -> None:
    """Runs a block of the guide against another port; an answer that is an error fails it."""
    code = block.code.replace("8000", port).replace("curl ", "curl -sS --fail ")
    run_shell(Block(block.language, code, block.line), GUIDE)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: apt-get install curl")
def test_the_guide_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = prepared()
    blocks = find_blocks((ROOT / GUIDE).read_text(encoding="utf-8"), GUIDE)
    (serve,) = [block for block in blocks if block.code.startswith("tabvision serve")]
    asked = [block for block in blocks if "curl" in block.code]
    assert len(asked) == 2

    for block in blocks:
        if block in asked:
            with serving_photos() if "images=" in block.code else serving(serve.code) as port:
                ask(block, port)
        elif block.language in SHELL and block != serve:
            run_shell(block, GUIDE)
        elif block != serve:
            run_python(block, names, GUIDE)

    assert len(pd.read_parquet("predictions.parquet")) == 9
    assert Path("calibrated.ckpt").exists()
    assert Path("model.onnx").exists()
