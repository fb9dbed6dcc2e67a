"""What the sweeps run over: every concrete module, found in `tabvision.modules`, with every kind of target."""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from typing_extensions import override

from tabvision import modules
from tabvision.data import CollabDataModule, FusedDataModule, ImageDataModule, TabularDataModule
from tabvision.data.base import TensorDataModule
from tabvision.modules import CollabModule, FusedModule, SupervisedModule, TabularModule, VisionModule
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression
from tests.made.drawn import SIDE, FusedTensors, ImageTensors, with_files

ROWS = 48


def make_frame(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Numbers and categories with gaps, and a column for every kind of target that hangs on them."""
    return _frame(rows, seed).copy()


@functools.cache
def _frame(rows: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    x, z = draw.normal(size=rows), 100 + 50 * draw.normal(size=rows)
    job, size = draw.choice(["cook", "nurse", "pilot"], rows), draw.choice(["s", "m", "l"], rows)
    signal = x + (job == "pilot") + 0.1 * draw.normal(size=rows)
    frame = pd.DataFrame({"x": x, "z": z, "job": job, "size": size})
    frame.loc[1::7, "z"], frame.loc[2::9, "job"] = np.nan, None
    order = signal.argsort().argsort()  # shares of classes that no split can empty
    flags = {"a": order % 2 == 0, "b": order < rows // 2, "c": order % 3 == 0}
    frame["paid"] = np.where(order < rows // 2, "no", "yes")
    frame["kind"] = np.array(["high", "low", "mid"])[order * 3 // rows]
    frame["tags"] = [" ".join(name for name in flags if flags[name][row]) for row in range(rows)]
    for name, flag in flags.items():
        frame[name] = flag.astype(int)
    frame["pay"], frame["cost"], frame["stars"] = 1e4 + 1e3 * signal, -5 * signal + x, 1 + 4 * order / rows
    return frame


class Case(NamedTuple):
    """A kind of target: its columns, and how the datamodule is told of it."""

    target: str | list[str]
    settings: dict[str, Any]


TARGETS = {
    "binary": Case("paid", {}),
    "binary_weighted": Case("paid", {"task": Binary(threshold=0.4, label_smoothing=0.1, class_weights="balanced")}),
    "multiclass": Case("kind", {}),
    "multiclass_weighted": Case("kind", {"task": Multiclass(label_smoothing=0.1, class_weights="balanced")}),
    "multilabel_text": Case("tags", {"separator": " "}),
    "multilabel_columns": Case(["a", "b", "c"], {"task": Multilabel()}),
    "regression": Case("pay", {}),
    "regression_several": Case(["pay", "cost"], {"task": Regression(error="huber")}),
    "regression_tweedie": Case("pay", {"task": Regression(error="tweedie")}),
    "regression_range": Case("stars", {"task": Regression(y_range=(0.5, 5.5), error="mae")}),
}
FEATURES = ("x", "z", "job", "size")
ALL_TARGETS = ("paid", "kind", "tags", "a", "b", "c", "pay", "cost", "stars")
PREDICTED = [name for name in TARGETS if "_weighted" not in name]  # where the loss plays no part


def tabular_data(name: str, frame: pd.DataFrame | None = None, **overrides: Any) -> TabularDataModule:
    """The frame with one of its targets; the others are no features."""
    case = TARGETS[name]
    columns = [case.target] if isinstance(case.target, str) else case.target
    settings: dict[str, Any] = {
        "batch_size": 16,
        "ignore": [column for column in ALL_TARGETS if column not in columns],
        "verbose": False,
    }
    frame = make_frame() if frame is None else frame
    return TabularDataModule(frame, case.target, **(settings | case.settings | overrides))


def image_data(name: str, frame: pd.DataFrame | None = None, **overrides: Any) -> ImageTensors:
    """The same rows as images."""
    schema = overrides.pop("schema", None)
    return ImageTensors(tabular_data(name, frame, **overrides), schema)


def file_data(name: str, frame: pd.DataFrame) -> ImageDataModule:
    """The same rows as the files that the frame names."""
    case = TARGETS[name]
    settings: dict[str, Any] = {"augment": "none", "batch_size": 16, "num_workers": 1, "size": SIDE, "verbose": False}
    return ImageDataModule(frame, case.target, path="file", **(settings | case.settings))


def fused_data(name: str, frame: pd.DataFrame | None = None, **overrides: Any) -> FusedTensors:
    """The same rows with images beside their columns."""
    schema = overrides.pop("schema", None)
    of_table = {} if schema is None else {"schema": replace(schema, image=None)}
    return FusedTensors(tabular_data(name, frame, **overrides, **of_table), schema)


def fused_file_data(name: str, frame: pd.DataFrame) -> FusedDataModule:
    """The same rows with the files that the frame names beside their columns."""
    case = TARGETS[name]
    columns = [case.target] if isinstance(case.target, str) else case.target
    settings: dict[str, Any] = {"augment": "none", "batch_size": 16, "num_workers": 1, "size": SIDE, "verbose": False}
    settings["ignore"] = [column for column in ALL_TARGETS if column not in columns]
    return FusedDataModule(frame, case.target, image=["file", "back"], **(settings | case.settings))


def collab_data(name: str, frame: pd.DataFrame | None = None, **overrides: Any) -> CollabDataModule:
    """The same rows as ratings: who has a job rates a size."""
    case = TARGETS[name]
    settings: dict[str, Any] = {"batch_size": 16, "duplicates": "keep", "missing": "drop", "verbose": False}
    frame = make_frame() if frame is None else frame
    settings |= {"user": "job", "item": "size", "rating": case.target}
    overrides.pop("ignore", None)  # only what is named is read
    return CollabDataModule(frame, **(settings | case.settings | overrides))


MODULES: list[type[SupervisedModule]] = [
    kind
    for kind in (getattr(modules, name) for name in modules.__all__)
    if inspect.isclass(kind) and issubclass(kind, SupervisedModule) and not inspect.isabstract(kind)
]
# How each module gets data, and settings that make it small. A new module is swept as soon as it stands here.
DATA: dict[type[SupervisedModule], Callable[..., TensorDataModule]] = {
    CollabModule: collab_data,
    FusedModule: fused_data,
    TabularModule: tabular_data,
    VisionModule: image_data,
}
SMALL: dict[type[SupervisedModule], dict[str, Any]] = {
    CollabModule: {"factors": 4, "lr": 0.05},
    FusedModule: {
        "body": "test_resnet",
        "weights": None,
        "image_dropout": 0.0,
        "part_dropout": 0.0,
        "members": 2,
        "member_widths": [8, 4],
        "lr": 0.01,
        "unknown_share": 0.0,
        "dropout": 0.0,
    },
    # nothing random in a step
    TabularModule: {
        "members": 2,
        "member_widths": [8, 4],
        "bin_parts": 2,
        "lr": 0.01,
        "unknown_share": 0.0,
        "dropout": 0.0,
    },
    VisionModule: {"body": "test_resnet", "weights": None, "head_widths": [8], "dropout": 0.0, "lr": 0.01},
}
OF_MLP = {"widths", "batch_norm", "continuous_norm", "squash", "activation", "numbers", "embedding_widths"}
# Modules that are not swept over every kind of target, and the kinds they are.
PREDICTS: dict[type[SupervisedModule], Sequence[str]] = {
    CollabModule: ("binary", "binary_weighted", "regression", "regression_range"),
    # the other kinds pass through the same lines as in TabularModule, or in the modules that it is made of
    VisionModule: ("binary", "multiclass_weighted", "multilabel_text", "regression_several", "regression_range"),
    FusedModule: ("binary", "multiclass_weighted", "multilabel_columns", "regression_several"),
}
TABLES: list[type[SupervisedModule]] = [CollabModule, TabularModule]  # modules that read the frame's own rows


def targets_of(kind: type[SupervisedModule], wanted: Sequence[str]) -> list[str]:
    """Those of the wanted kinds of target that a module predicts."""
    return [target for target in wanted if target in PREDICTS.get(kind, TARGETS)]


class Pair(NamedTuple):
    """A module class and the name of a target."""

    kind: type[SupervisedModule]
    target: str

    @override
    def __str__(self) -> str:
        return f"{self.kind.__name__}-{self.target}"

    def data(self, frame: pd.DataFrame | None = None, **overrides: Any) -> Any:
        """A datamodule with that target."""
        return DATA[self.kind](self.target, frame, **overrides)

    def raw(self, folder: Path, rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
        """Rows as a user has them: for a module that reads images, with a file each."""
        frame = make_frame(rows, seed)
        if self.kind in TABLES:
            return frame
        frame = with_files(frame, folder / f"images{seed}")
        has_back = np.arange(rows) % 5 > 0  # read by the module of columns and images alone
        return frame.assign(back=frame["file"].where(has_back)) if self.kind is FusedModule else frame

    def raw_data(self, raw: pd.DataFrame) -> Any:
        """A datamodule that reads such rows."""
        if self.kind in TABLES:
            return self.data(raw)
        return (fused_file_data if self.kind is FusedModule else file_data)(self.target, raw)

    def module(self, schema: Any, **overrides: Any) -> SupervisedModule:
        """A small module; every one of the same weights."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            small = SMALL[self.kind]
            if OF_MLP & overrides.keys():  # fastai's network of tables
                small = {"widths": [8, 4], "lr": 0.01, "unknown_share": 0.0}
            return self.kind(schema, **(small | overrides))


ONE = Pair(TabularModule, "binary")  # where no module differs from another


def _sweep(pairs: Iterable[Pair]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("pair", list(pairs), ids=str)


def _pairs(kinds: Iterable[type[SupervisedModule]], targets: Sequence[str]) -> list[Pair]:
    return [Pair(kind, target) for kind in kinds if kind in DATA for target in targets_of(kind, targets)]


# Each module once, with classes and with numbers by turns: what is asked of it hangs on no target.
EACH = [
    Pair(kind, target) for kind, target in zip(DATA, itertools.cycle(("binary", "regression_several")), strict=False)
]
EVERY = _pairs(MODULES, list(TARGETS))
every_module_and_target = _sweep(EVERY)
every_table = _sweep(_pairs(TABLES, ("binary", "regression")))
every_module = _sweep(EACH)
every_module_or_target = _sweep(dict.fromkeys([*EACH, *_pairs([TabularModule], list(TARGETS))]))  # not each with each
every_target = _sweep(_pairs([TabularModule], list(TARGETS)))
