"""Train a network further on new rows with `module.grow`, compared with a new network on all rows, in a fifth of the steps.

    python benchmarks/warm_start.py --fashion /usr/share/datasets/fashion-mnist --out benchmarks/results/warm_start.json

A network trained on the old rows is grown and trains on the new rows and as many old ones (four times as many for images),
with a fifth of the steps of a network that starts from scratch on all rows. Both use one-cycle, their default rates, one
thread, and the same held-out rows:

- flights: months 1 to 8, then 9 and 10, which are new categories; AUC
- ratings: MovieLens by time, the first four fifths, then the rest with its new users and films; RMSE
- digits: classes 0 to 7, then all ten, with rows of all classes held out; accuracy of a fine-tuned image body
- fashion: eight classes of Fashion-MNIST, then all ten; a different 20,000 training images for each seed, three epochs, the
  test images held out; accuracy of that body. `--clothes 2000 8` sets the images and epochs, to test with few photos

"Gain" is the grown network's improvement over the old one, as a fraction of the new network's improvement.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, make_parser, run_facts, spread_of, table, tell

if TYPE_CHECKING:
    import pandas as pd
    import pytorch_lightning as pl

    from tabvision.inference import Predictor
    from tabvision.modules import SupervisedModule
    from tabvision.schema import Schema

FRACTION = 0.2  # of the steps, and of the new rows to hold out
CLOTHES = (20_000, 3)  # training images of Fashion-MNIST, and epochs for a new network


class Task(NamedTuple):
    """Rows in the order in which they arrive, and how to train on them.

    Args:
        old: Rows of the first fit.
        new: Rows that arrive later.
        held_out: Rows to score on.
        data: Returns a datamodule without a validation part for rows, and a schema or None.
        module: Returns a new module for a schema.
        score: Returns the score of a predictor on rows.
        epochs: Epochs of a fit from scratch.
        old_for_new: Old rows that the grown network gets per new row.
    """

    old: pd.DataFrame
    new: pd.DataFrame
    held_out: pd.DataFrame
    data: Callable[..., Any]
    module: Callable[..., Any]
    score: Callable[..., float]
    epochs: int
    old_for_new: int = 1


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    chosen = [name for name in NAMES if name in (options.tasks or NAMES) and (name != "fashion" or options.fashion)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context) as pool:
        runs = {
            name: [pool.submit(run, name, seed, options.fashion, options.clothes) for seed in range(options.seeds)]
            for name in chosen
        }
        tasks = {name: [each.result() for each in these] for name, these in runs.items()}
    result = {**run_facts(threads=1), "clothes": options.clothes if "fashion" in chosen else None, "tasks": tasks}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time, each in one thread")
    parser.add_argument("--fashion", type=Path, help="the folder of Fashion-MNIST's idx files; needed for that task")
    parser.add_argument("--clothes", type=int, nargs=2, default=CLOTHES, metavar=("IMAGES", "EPOCHS"))
    parser.add_argument("--tasks", nargs="+", choices=NAMES, help="default: all")
    options = parser.parse_args(words)
    if "fashion" in (options.tasks or ()) and options.fashion is None:
        parser.error("--tasks fashion needs --fashion FOLDER")
    return options


def run(name: str, seed: int, source: Path | None, clothes: tuple[int, int]) -> dict[str, Any]:
    """Measure a task with one thread."""
    import torch

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        make = (
            functools.partial(fashion, source=source, clothes=clothes) if source and name == "fashion" else TASKS[name]
        )
        return {"seed": seed, **measure(make(seed, Path(folder)), seed)}


def measure(task: Task, seed: int) -> dict[str, Any]:
    """Return the scores of the old network, a new one, and the old one grown."""
    import pandas as pd
    import pytorch_lightning as pl

    pl.seed_everything(seed, verbose=False)  # the initial weights too
    both = pd.concat([task.old, task.new], ignore_index=True)
    first, every = task.data(task.old), task.data(both)
    old = fit(task.module(first.schema), first, seed, epochs=task.epochs)
    anew = fit(task.module(every.schema), every, seed, epochs=task.epochs)
    steps = task.epochs * len(every.train_dataloader())
    grown = old.grow(every.schema)
    num_old = min(len(task.old), task.old_for_new * len(task.new))
    some = pd.concat([task.old.sample(num_old, random_state=seed), task.new], ignore_index=True)
    grown = fit(grown, task.data(some, grown.schema), seed, steps=round(FRACTION * steps))
    found = {name: score(task, module) for name, module in (("old", old), ("anew", anew), ("grown", grown))}
    gain = (found["grown"] - found["old"]) / (found["anew"] - found["old"])
    print({**found, "gain": gain}, file=sys.stderr)
    return {**found, "gain": gain, "steps": steps}


def fit(
    module: SupervisedModule,
    data: pl.LightningDataModule,
    seed: int,
    *,
    epochs: int = -1,
    steps: int = -1,
) -> SupervisedModule:
    """Train a module with one-cycle and return it."""
    import pytorch_lightning as pl

    from tabvision.callbacks import OneCycle

    pl.seed_everything(seed, verbose=False)
    quiet: dict[str, Any] = dict.fromkeys(
        ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        callbacks=[OneCycle()],
        max_epochs=epochs,
        max_steps=steps,
        **quiet,
    )
    trainer.fit(module, data)
    return module


def score(task: Task, module: SupervisedModule) -> float:
    """Return a module's score on the held-out rows."""
    from tabvision.inference import Predictor

    return task.score(Predictor(module), task.held_out)


def flights(seed: int, _: Path) -> Task:
    """Return a task with new months."""
    from sklearn.metrics import roc_auc_score

    from tabvision.data import TabularDataModule
    from tabvision.data.demo import FLIGHTS_CATEGORICAL, flights
    from tabvision.modules import TabularModule

    frame = flights()
    later = frame[frame["month"].isin([9, 10])]
    held_out = later.sample(frac=FRACTION, random_state=seed)

    def data(rows: pd.DataFrame, schema: Schema | None = None) -> TabularDataModule:
        kinds: dict[str, Any] = {} if schema else {"categorical": list(FLIGHTS_CATEGORICAL)}
        return TabularDataModule(rows, "late", split=None, batch_size=4096, schema=schema, verbose=False, **kinds)

    def auc(predictor: Predictor, rows: pd.DataFrame) -> float:
        answers = predictor.predict(rows, proba=True)["probability_yes"]
        return float(roc_auc_score(rows["late"] == "yes", answers))

    old = frame[frame["month"] <= 8]
    return Task(old, later.drop(held_out.index), held_out, data, TabularModule, auc, epochs=3)


def ratings(seed: int, _: Path) -> Task:
    """Return a task with new users and films."""
    import numpy as np

    from tabvision.data import CollabDataModule
    from tabvision.data.demo import ratings
    from tabvision.modules import CollabModule

    frame = ratings().sort_values("timestamp", ignore_index=True)
    cut = int(0.8 * len(frame))
    later = frame[cut:]
    held_out = later.sample(frac=FRACTION, random_state=seed)

    def data(rows: pd.DataFrame, schema: Schema | None = None) -> CollabDataModule:
        return CollabDataModule(
            rows, user="user", item="film", rating="rating", split=None, schema=schema, batch_size=256, verbose=False
        )

    def rmse(predictor: Predictor, rows: pd.DataFrame) -> float:
        errors = predictor.predict(rows)["prediction"].to_numpy() - rows["rating"].to_numpy()
        return float(np.sqrt((errors**2).mean()))

    return Task(frame[:cut], later.drop(held_out.index), held_out, data, CollabModule, rmse, epochs=5)


def digits(seed: int, folder: Path) -> Task:
    """Return a task with new classes of photos."""
    import pandas as pd

    from tabvision.data.demo import digits

    root = digits(folder / f"digits{seed}")
    files = sorted(root.rglob("*.png"))
    frame = pd.DataFrame({"file": map(str, files), "label": [f"d{file.parent.name}" for file in files]})
    held_out = frame.sample(frac=FRACTION, random_state=seed)
    return _photos(frame.drop(held_out.index), held_out, ["d8", "d9"], epochs=8)


def fashion(seed: int, folder: Path, source: Path, clothes: tuple[int, int]) -> Task:
    """Return a task with new classes of gray photos: different training images for each seed, and the same test images."""
    from datamodules.fashion_mnist import NAMES

    number, epochs = clothes
    rows = _clothes(source, "train", slice(seed * number, (seed + 1) * number), folder)
    held_out = _clothes(source, "test", slice(None), folder)
    return _photos(rows, held_out, NAMES[8:], epochs)


def _clothes(source: Path, part: str, numbers: slice, folder: Path) -> pd.DataFrame:
    """Write images of a part of Fashion-MNIST as PNG files, and return their paths and labels."""
    import pandas as pd
    from PIL import Image

    from datamodules.fashion_mnist import FILES, NAMES, read_idx

    images, labels = (read_idx(source / name)[numbers] for name in FILES[part])
    files = [folder / f"{part}{number:05}.png" for number in range(len(images))]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    return pd.DataFrame({"file": map(str, files), "label": [NAMES[label] for label in labels]})


def _photos(rows: pd.DataFrame, held_out: pd.DataFrame, new: Sequence[str], epochs: int) -> Task:
    """Return a task where the classes `new` arrive later; the grown network trains on all classes equally often."""
    from tabvision.data import ImageDataModule
    from tabvision.modules import VisionModule

    def data(rows: pd.DataFrame, schema: Schema | None = None) -> ImageDataModule:
        return ImageDataModule(
            rows, "label", path="file", split=None, size=32, augment="none", schema=schema, verbose=False
        )

    def module(schema: Schema) -> VisionModule:
        return VisionModule(schema, body="efficientnet_lite0")

    def accuracy(predictor: Predictor, rows: pd.DataFrame) -> float:
        return float((predictor.predict(rows["file"].tolist())["label"].to_numpy() == rows["label"].to_numpy()).mean())

    is_new = rows["label"].isin(new)
    return Task(rows[~is_new], rows[is_new], held_out, data, module, accuracy, epochs, old_for_new=4)


TASKS: dict[str, Callable[[int, Path], Task]] = {"flights": flights, "ratings": ratings, "digits": digits}
NAMES = (*TASKS, "fashion")


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per task."""
    lines = []
    for name, runs in result["tasks"].items():
        means = {key: spread_of([run[key] for run in runs]) for key in ("old", "anew", "grown", "gain")}
        written = [
            [f"{it['mean']:{form}}", *([f"± {it['spread']:{form}}"] if len(runs) > 1 else [])]
            for key, it in means.items()
            for form in [".0%" if key == "gain" else ".4f"]
        ]
        lines.append([name, *map(" ".join, written), str(len(runs))])
    headers = ["task", "old network", "from scratch on all rows", "grown, a fifth of the steps", "gain", "seeds"]
    return f"{table(headers, lines)}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
