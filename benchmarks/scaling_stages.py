"""The curves that `scaling.py` measures: for each, how to make the data at a size, and the stages of the work on it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn
from typing_extensions import override

from benchmarks.quiet import quiet_trainer
from tabvision.callbacks import FrozenFeatures, Unfreeze
from tabvision.data import CollabDataModule, ImageDataModule, TabularDataModule
from tabvision.data.images.folders import all_images, class_folders
from tabvision.data.ratings.negatives import NegativeSampler
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.write import write_frame
from tabvision.inference import PredictionWriter, Predictor, merge_predictions
from tabvision.modules import CollabModule, TabularModule, VisionModule
from tabvision.preprocess import fit_features, infer_kinds, to_arrays
from tabvision.schema import Categorical, Schema, Target
from tabvision.tasks import Regression

BATCH_SIZE = 1024
FILE_ROWS = 250_000
FEW_ROWS = 500  # in a table whose columns grow
CARDINALITY_ROWS, CLASS_ROWS = 1_000_000, 20_000
NUM_IDS = 20_000  # users, and as many items, for ratings whose pairs grow
DRAWN = 1_000_000  # negatives to draw
FEW_STEPS = 5  # for a table with a high-cardinality category
STEPS = 5  # for a network whose users and items grow


@final
class Stages:
    """Record the CPU seconds and peak memory of each stage in a process.

    Memory is what the process has to itself, beyond what it had when this object was created. Pages of mapped files, which
    are shared and which the system may drop, do not count.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self.before = mib_of("VmRSS") - mib_of("RssFile")

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure the block that runs inside."""
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # reset the peak
        start = time.process_time()
        yield
        seconds = time.process_time() - start
        self.found[name] = {"seconds": seconds, "mib": mib_of("VmHWM") - mib_of("RssFile") - self.before}

    def holds(self, name: str, mib: float) -> None:
        """Record the size of a single thing, such as a file."""
        self.found[name] = {"mib": mib}


def mib_of(name: str) -> float:
    """Return a figure of this process's memory as reported by the system."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


@final
class TimedEpochs(Callback):
    """Record each epoch's training as a stage."""

    def __init__(self, stages: Stages, names: list[str]) -> None:
        self.stages, self.names = stages, names
        self.open = contextlib.ExitStack()

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.open.enter_context(self.stages(self.names[trainer.current_epoch]))

    @override
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.open.close()


def fit(
    stages: Stages,
    names: list[str],
    module: Any,  # noqa: ANN401
    data: Any,  # noqa: ANN401
    *callbacks: Callback,
    **settings: Any,  # noqa: ANN401
) -> None:
    """Train for one epoch per name."""
    quiet = {"enable_progress_bar": False, "num_sanity_val_steps": 0, "limit_val_batches": 0, **settings}
    quiet_trainer(len(names), *callbacks, TimedEpochs(stages, names), **quiet).fit(module, data)


# --- tables


def make_rows(size: int, folder: Path) -> None:
    """Write a table of ten columns, one of them a date, in several files."""
    for start in range(0, size, FILE_ROWS):
        _write(_rows(min(FILE_ROWS, size - start), seed=start), folder / f"part-{start // FILE_ROWS:05}.parquet")


def _rows(size: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    numbers = {f"x{number}": draw.normal(size=size).round(4) for number in range(4)}
    numbers["x3"][draw.random(size) < 0.05] = np.nan
    words = {
        f"c{most}": np.array([f"v{i}" for i in range(most)])[draw.integers(0, most, size)] for most in (10, 100, 1_000)
    }
    whole = {f"n{most}": draw.integers(0, most, size) for most in (50, 5_000)}
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(draw.integers(0, 1_000, size), unit="D")
    late = np.where(numbers["x0"] + draw.normal(size=size) > 0, "yes", "no")
    return pd.DataFrame({**numbers, **words, **whole, "when": when, "y": late})


def _write(frame: pd.DataFrame, path: Path) -> None:
    pa.parquet.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=100_000)


def make_numbers(size: int, folder: Path) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(size=(FEW_ROWS, size)).astype(np.float32)
    _write(
        _with_target(pd.DataFrame(values, columns=[f"x{number}" for number in range(size)])), folder / "part.parquet"
    )


def make_categories(size: int, folder: Path) -> None:
    draw, words = np.random.default_rng(0), np.array(list("abcdefghij"))
    columns = {f"c{number}": words[draw.integers(0, 10, FEW_ROWS)] for number in range(size)}
    _write(_with_target(pd.DataFrame(columns)), folder / "part.parquet")


def _with_target(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(y=np.where(np.arange(len(frame)) % 3 == 0, "yes", "no"))


def make_cardinality(size: int, folder: Path) -> None:
    """Write a million rows with a number and one category of `size` values."""
    rows = CARDINALITY_ROWS if size > SMALL else FEW_ROWS
    values = pd.Series(np.random.default_rng(0).permutation(rows) % size).astype(str).radd("v")
    _write(_with_target(pd.DataFrame({"c": values, "x": np.arange(rows) % 1_009 / 7})), folder / "part.parquet")


def make_classes(size: int, folder: Path) -> None:
    rows, draw = CLASS_ROWS if size > SMALL else FEW_ROWS, np.random.default_rng(0)
    codes = draw.permutation(rows) % size
    columns = {f"x{number}": codes % (number + 2) + draw.normal(size=rows) for number in range(8)}
    words = np.array([f"class {code:04}" for code in range(size)])
    _write(pd.DataFrame({**columns, "y": words[codes]}), folder / "part.parquet")


def table(folder: Path, size: int, stages: Stages) -> None:  # noqa: ARG001
    """Run a table in memory, from its file to its predictions."""
    with stages("read"):
        frame = read_frame(folder)
    with stages("infer types, fit the schema"):
        kinds = infer_kinds(frame, target=["y"], categorical=["c"] if "c" in frame else None)
        features = fit_features(frame, kinds)
    with stages("encode"):
        to_arrays(features, frame)
    del features, kinds
    with stages("TabularDataModule, all of the above"):
        named = ["c"] if "c" in frame else None
        data = TabularDataModule(frame, "y", categorical=named, split=None, batch_size=BATCH_SIZE, verbose=False)
    module = TabularModule(data.schema)
    if named:
        fit(stages, [f"train, {FEW_STEPS} steps"], module, data, limit_train_batches=FEW_STEPS)
    else:
        fit(stages, ["train, an epoch"], module, data)
    held = sum(weight.nbytes for weight in module.parameters())
    stages.holds("weights", held / 2**20)
    asked = frame.head(CLASS_ROWS) if named else frame
    with stages(f"predict {CLASS_ROWS:,} rows" if named else "predict"):
        answers = Predictor(module).predict(asked)
    with stages("write predictions"):
        write_frame(answers, folder / "answers.parquet", overwrite=True)


def prepared(folder: Path, size: int, stages: Stages) -> None:  # noqa: ARG001
    """Run a table prepared on disk: half of the rows train, half are predicted."""

    def open_table() -> TabularDataModule:
        source = folder / "part-*.parquet"
        return TabularDataModule(
            source, "y", split=0.5, batch_size=BATCH_SIZE, verbose=False, prepared=folder / "prepared"
        )

    with stages("prepare: read twice, fit, encode, write"):
        data = open_table()
    with stages("open again"):
        data = open_table()
    files = [file.stat().st_size for file in (folder / "prepared").glob("*.npy")]
    stages.holds("arrays on the disk", sum(files) / 2**20)
    module = TabularModule(data.schema)
    fit(stages, ["train, an epoch of half the rows"], module, data)
    trainer = quiet_trainer(1, PredictionWriter(folder / "shards"), enable_progress_bar=False)
    with stages("predict half the rows into shards"):
        trainer.predict(module, data.val_dataloader(), return_predictions=False)
    with stages("validate on half the rows"):
        trainer.validate(module, data.val_dataloader(), verbose=False)
    with stages("merge shards"):
        merge_predictions(folder / "shards", folder / "answers.parquet")


# --- photos


def make_class_folders(size: int, folder: Path) -> None:
    for number in range(100):
        (folder / f"class{number:02}").mkdir(exist_ok=True)
    _touch(folder, size, lambda number: f"class{number % 100:02}/photo{number:07}.jpg")


def make_one_folder(size: int, folder: Path) -> None:
    _touch(folder, size, lambda number: f"class{number % 100:02}_{number:07}.jpg")


def _touch(folder: Path, size: int, name: Callable[[int], str]) -> None:
    """Create empty files; those of the smaller sizes already exist."""
    mark = folder / "made"
    made = int(mark.read_text(encoding="ascii")) if mark.exists() else 0
    for number in range(made, size):
        os.close(os.open(f"{folder}/{name(number)}", os.O_CREAT | os.O_WRONLY))
    mark.write_text(str(size), encoding="ascii")


def listed_classes(folder: Path, size: int, stages: Stages) -> None:
    """List and split photos in class folders."""
    with stages("list"):
        found = class_folders(folder).frame
    assert len(found) == size, "all files are photos by name"
    del found
    with stages("ImageDataModule, listing included"):
        ImageDataModule(folder, size=32, num_workers=0, verbose=False)


def listed_folder(folder: Path, size: int, stages: Stages) -> None:
    """List and split photos in one folder, whose names give their classes."""
    with stages("list"):
        found = all_images(folder).frame
    assert len(found) == size, "all files are photos by name"
    del found
    with stages("ImageDataModule, listing included"):
        ImageDataModule(folder, label_pattern="^(class..)_", size=32, num_workers=0, verbose=False)


def make_photos(size: int, folder: Path) -> None:
    from PIL import Image

    for number in range(size):
        path = folder / f"class{number % 4}" / f"{number:05}.jpg"
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((96, 72)).save(path)


def photos(folder: Path, size: int, stages: Stages) -> None:  # noqa: ARG001
    """Train a small body on small photos: decoded, from the cache, and as features of the frozen body."""
    data = ImageDataModule(folder, size=48, batch_size=32, num_workers=0, cache="memory", split=0.1, verbose=False)
    pools = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()]
    module = VisionModule(data.schema, body=nn.Sequential(*pools), head="linear")
    fit(stages, ["train, first epoch: decode", "train, an epoch from the cache"], module, data)
    names = ["compute features, train an epoch on them", "train an epoch on features"]
    fit(stages, names, module, data, Unfreeze({0: 1}), FrozenFeatures())
    with stages("predict from the files"):
        Predictor(module).predict(folder, tta=0)


# --- ratings


def make_pairs(size: int, folder: Path) -> None:
    """Write distinct pairs without ratings."""
    keys = np.arange(size, dtype=np.int64) * 7_368_787 % NUM_IDS**2
    _write(pd.DataFrame({"user": keys // NUM_IDS, "item": keys % NUM_IDS}), folder / "part.parquet")


def ratings(folder: Path, size: int, stages: Stages) -> None:  # noqa: ARG001
    """Read pairs, and draw negatives for an epoch."""
    with stages("CollabDataModule"):
        data = CollabDataModule(folder / "part.parquet", user="user", item="item", batch_size=4_096, verbose=False)
    with stages("index the known pairs"):
        loader = data.train_dataloader()
    with stages("load an epoch, four negatives per pair"):
        for _ in loader:
            pass


def no_files(size: int, folder: Path) -> None:
    """Write nothing: the data is drawn during the measurement."""


def negatives(folder: Path, size: int, stages: Stages) -> None:  # noqa: ARG001
    """Measure the known pairs alone, with a fifth as many users and items."""
    draw, num = np.random.default_rng(0), max(10, size // 5)
    users, items = (draw.integers(1, num + 1, size, dtype=np.int32) for _ in range(2))
    with stages("index the known pairs"):
        sampler = NegativeSampler(users, items, num_users=num, num_items=num, seed=0)
    rows = np.arange(DRAWN // 4)
    with stages("draw a million negatives"):
        sampler.of(users[rows % size], rows, times=4, epoch=0)


def ids(folder: Path, size: int, stages: Stages) -> None:
    """Time a step for `size` users and as many items, updating only the batch's rows, or every row."""
    columns = tuple(Categorical(name=name, source=name, vocabulary=tuple(range(size))) for name in ("user", "item"))
    task = Regression(y_range=(0.5, 5.5), mean=(3.0,), spread=(1.0,))
    schema = Schema(target=Target(columns=("rating",), task=task), categorical=columns)
    draw = torch.Generator().manual_seed(0)
    for name, rowwise in (("rows of the batch", True), ("every row", False)):
        module = CollabModule(schema, rowwise=rowwise)
        optimizer = module.configure_optimizers()
        with stages(f"{STEPS} steps, {name}"):
            for _ in range(STEPS):
                pairs = torch.randint(1, size + 1, (BATCH_SIZE, 2), generator=draw)
                stars = torch.rand(BATCH_SIZE, 1, generator=draw) * 4 + 1
                loss = task.loss(module({"categorical": pairs}), stars).mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
    file = folder / "ids.ckpt"
    torch.save({"state_dict": module.state_dict(), "optimizer_states": [optimizer.state_dict()]}, file)
    stages.holds("checkpoint: weights and moments", file.stat().st_size / 2**20)


Make: TypeAlias = Callable[[int, Path], None]
Work: TypeAlias = Callable[[Path, int, Stages], None]


class Curve(NamedTuple):
    """A quantity that grows.

    Args:
        title: What one unit is, and what is held constant.
        unit: The unit in one word.
        make: Writes data of a size to a folder, next to those of smaller sizes if `grows` is set.
        work: Does the work, stage by stage.
        sizes: The base, whose figures are subtracted from all others, then the points to fit the exponents to.
        grows: Whether one folder serves all sizes.
        small: The size for the warm-up; None for `SMALL`.
    """

    title: str
    unit: str
    make: Make
    work: Work
    sizes: tuple[int, ...]
    grows: bool = False
    small: int | None = None


SMALL = 10  # the size for the warm-up, since first calls import, compile and allocate
_COLUMNS = (30, 150, 350, 800, 2_000, 5_000)
_VALUES = (2_000, 32_000, 75_000, 180_000, 420_000, 1_000_000)
_FILES = (1_000, 10_000, 24_000, 58_000, 140_000, 320_000)
CURVES: Mapping[str, Curve] = {
    "rows": Curve(
        "Rows of a table in memory: ten columns",
        "row",
        make_rows,
        table,
        (2_000, 10_000, 24_000, 58_000, 140_000, 320_000),
        small=500,
    ),
    "prepared": Curve(
        "Rows of a prepared table: the same columns",
        "row",
        make_rows,
        prepared,
        (10_000, 60_000, 150_000, 360_000, 850_000, 2_000_000),
        small=500,
    ),
    "numbers": Curve(f"Columns of numbers: {FEW_ROWS:,} rows", "column", make_numbers, table, _COLUMNS),
    "categories": Curve(f"Columns of categories: {FEW_ROWS:,} rows", "column", make_categories, table, _COLUMNS),
    "cardinality": Curve(
        f"Values of one category: {CARDINALITY_ROWS:,} rows", "value", make_cardinality, table, _VALUES
    ),
    "classes": Curve(f"Classes: {CLASS_ROWS:,} rows", "class", make_classes, table, (11, 32, 75, 180, 420, 1_000)),
    "class_folders": Curve(
        "Photos in 100 class folders", "photo", make_class_folders, listed_classes, _FILES, grows=True, small=500
    ),
    "one_folder": Curve("Photos in one folder", "photo", make_one_folder, listed_folder, _FILES, grows=True, small=500),
    "photos": Curve(
        "Photos of 96 by 72 pixels, trained on at 48", "photo", make_photos, photos, (20, 64, 150, 360, 850, 2_000)
    ),
    "ratings": Curve(
        f"Pairs of {NUM_IDS:,} users and as many items",
        "pair",
        make_pairs,
        ratings,
        (5_000, 64_000, 150_000, 360_000, 850_000, 2_000_000),
        small=500,
    ),
    "negatives": Curve(
        "Known pairs, and a fifth as many users and items",
        "pair",
        no_files,
        negatives,
        (10_000, 320_000, 750_000, 1_800_000, 4_200_000, 10_000_000),
        small=500,
    ),
    "ids": Curve(
        f"Users, and as many items: 50 factors, {BATCH_SIZE:,} pairs per step",
        "user and item",
        no_files,
        ids,
        (1_000, 32_000, 75_000, 180_000, 420_000, 1_000_000),
    ),
}
