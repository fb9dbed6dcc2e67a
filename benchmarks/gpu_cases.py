"""The cases that `on_gpu.py` checks: synthetic rows and images, and every module with every target it can predict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.quiet import quiet_trainer, unheard
from tabvision.data import CollabDataModule, FusedDataModule, ImageDataModule, TabularDataModule
from tabvision.modules import CollabModule, FusedModule, SupervisedModule, TabularModule, VisionModule

Facts = dict[str, Any]
Cases = Mapping[str, Callable[[], Facts]]
"""The cases of a check by name: each returns facts, or raises an error that explains what is wrong."""

SHAPE = (160, 200)  # (height, width) of an image file
SPOT = 9.0  # std of the spot in an image, in pixels
TARGETS: dict[str, tuple[Any, dict[str, Any]]] = {  # columns, and the datamodule's settings for them
    "binary": ("paid", {}),
    "multiclass": ("kind", {}),
    "multilabel": ("tags", {"separator": " "}),
    "regression": ("pay", {}),
    "points": (["spot_x", "spot_y"], {"task": "points"}),
}
_COLUMNS = ["x", "z", "job", "size"]
INPUTS = {"table": _COLUMNS, "images": ["file"], "both": [*_COLUMNS, "file"], "ratings": ["user", "item"]}


class Size(NamedTuple):
    """How much data a run of all checks trains on."""

    rows: int
    speed_rows: int
    images: int
    side: int
    body: str
    steps: int


GPU = Size(rows=8_192, speed_rows=400_000, images=512, side=128, body="resnet18", steps=60)
CPU = Size(rows=512, speed_rows=4_000, images=48, side=32, body="test_resnet", steps=24)


class Net(NamedTuple):
    """A module's class, its settings, its kind of input, and the targets it can predict."""

    kind: type[SupervisedModule]
    settings: dict[str, Any]
    inputs: str
    targets: tuple[str, ...]


_TABLE_TARGETS = ("binary", "multiclass", "multilabel", "regression")
_SMALL_HEAD = {"weights": None, "head_widths": [64], "dropout": 0.0, "lr": 3e-3}
NETS = {
    "packed": Net(TabularModule, {}, "table", _TABLE_TARGETS),
    "mlp": Net(TabularModule, {"net": "mlp", "lr": 0.01}, "table", _TABLE_TARGETS),
    "vision": Net(VisionModule, {"body": "test_resnet", **_SMALL_HEAD}, "images", tuple(TARGETS)),
    "fused": Net(FusedModule, {"body": "test_resnet", "weights": None, "lr": 3e-3}, "both", _TABLE_TARGETS),
    "dot": Net(CollabModule, {"factors": 8, "lr": 0.05}, "ratings", ("binary", "regression")),
    "neural": Net(CollabModule, {"factors": 8, "kind": "neural", "lr": 0.01}, "ratings", ("binary", "regression")),
}


@dataclass(frozen=True)
class Site:
    """The device that the checks run on, and the amount of data.

    Args:
        device: The device to check.
        size: How much data the checks train on.
        folder: An empty folder.
    """

    device: torch.device
    size: Size
    folder: Path = field(repr=False)

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions to check; a CPU has no float16."""
        return ("32-true", "bf16-mixed", "16-mixed") if self.device.type == "cuda" else ("32-true", "bf16-mixed")

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Rows with every target; the first ones have an image file."""
        frame = made_rows(self.size.rows)
        frame["file"] = None
        files = list(drawn(frame.iloc[: self.size.images], self.folder / "images"))
        frame.loc[: len(files) - 1, "file"] = files
        return frame

    def rows(self, inputs: str) -> pd.DataFrame:
        """Return the rows for one kind of input."""
        return self.frame.iloc[: self.size.images] if "file" in INPUTS[inputs] else self.frame.drop(columns="file")

    def data(self, net: Net, target: str, rows: pd.DataFrame | None = None, **overrides: Any) -> Any:  # noqa: ANN401
        """Return a new datamodule for a target, with the net's rows or the given ones."""
        columns, settings = TARGETS[target]
        rows = self.rows(net.inputs) if rows is None else rows
        batch_size = max(8, len(rows) // 8)
        common: dict[str, Any] = {"batch_size": batch_size, "verbose": False, **settings, **overrides}
        if net.inputs == "ratings":
            return CollabDataModule(rows, user="user", item="item", rating=columns, duplicates="keep", **common)
        if "file" in INPUTS[net.inputs]:
            common = {"size": self.size.side, "augment": "light", "cache": "memory", **common}
        if net.inputs == "images":
            return ImageDataModule(rows, columns, path="file", **common)
        others = [name for name in rows.columns if name not in (*INPUTS[net.inputs], columns)]
        if net.inputs == "both":
            return FusedDataModule(rows, columns, image="file", ignore=others, **common)
        return TabularDataModule(rows, columns, ignore=others, **common)

    def module(self, net: Net, data: Any, **overrides: Any) -> SupervisedModule:  # noqa: ANN401 - a datamodule
        """Return a new module for the data, always with the same initial weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return net.kind(data.schema, **{**net.settings, **overrides})

    def trainer(self, epochs: int, *callbacks: Any, precision: str = "32-true", **settings: Any) -> Any:  # noqa: ANN401
        """Return a silent Trainer on the device."""
        accelerator = "gpu" if self.device.type == "cuda" else "cpu"
        quiet: dict[str, Any] = {"enable_progress_bar": False, "num_sanity_val_steps": 0, "accelerator": accelerator}
        with unheard():
            return quiet_trainer(epochs, *callbacks, precision=precision, **(quiet | settings))

    def epochs(self, data: Any) -> int:  # noqa: ANN401 - a datamodule
        """Return enough epochs for the steps of a short fit."""
        return -(-self.size.steps // len(data.train_dataloader()))

    def moved(self, batch: Any) -> Any:  # noqa: ANN401 - a batch
        """Return a batch on the device."""
        return {name: value.to(self.device) for name, value in batch.items()}


def made_rows(num: int) -> pd.DataFrame:
    """Return numbers and categories with missing values, users and items, and every target, which depend on them.

    Example:
        >>> frame = made_rows(64)
        >>> frame["kind"].nunique(), int(frame["z"].isna().sum()) > 0
        (3, True)
    """
    draw = np.random.default_rng(0)
    x, z = draw.normal(size=num), 100 + 50 * draw.normal(size=num)
    job, size = draw.choice(["cook", "nurse", "pilot"], num), draw.choice(["s", "m", "l"], num)
    users, items = draw.integers(0, 40, num), draw.integers(0, 25, num)
    users[:40], items[:25] = np.arange(min(num, 40)), np.arange(min(num, 25))
    taste = draw.normal(size=40)[users] + draw.normal(size=25)[items]
    signal = x + (job == "pilot") + taste + 0.1 * draw.normal(size=num)
    order = signal.argsort().argsort()
    flags = {"odd": order % 2 == 1, "low": order < num // 2, "third": order >= 2 * num // 3}
    frame = pd.DataFrame({"x": x, "z": z, "job": job, "size": size, "user": users, "item": items})
    frame.loc[1::7, "z"], frame.loc[2::9, "job"] = np.nan, None
    frame["paid"] = np.where(order < num // 2, "no", "yes")
    frame["kind"] = np.array(["high", "low", "mid"])[order * 3 // num]
    frame["tags"] = [" ".join(name for name in flags if flags[name][row]) for row in range(num)]
    frame["pay"] = 1e4 + 1e3 * signal
    frame["spot_x"], frame["spot_y"] = (draw.uniform(0.25, 0.75, (2, num)).T * SHAPE[::-1]).T
    return frame


def drawn(frame: pd.DataFrame, folder: Path) -> Iterator[str]:
    """Write a JPEG file for each row and yield the path; its brightness shows the pay and a spot marks the point."""
    folder.mkdir(parents=True, exist_ok=True)
    down, across = np.mgrid[: SHAPE[0], : SHAPE[1]]
    brightness = frame["pay"].rank(pct=True)
    for number, (level, x, y) in enumerate(zip(brightness, frame["spot_x"], frame["spot_y"], strict=True)):
        pixels = np.empty((*SHAPE, 3))
        pixels[..., 0] = 30 + 190 * level
        pixels[..., 1] = 230 * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * SPOT**2))
        pixels[..., 2] = 128 + 60 * np.sin(across / 11) * np.cos(down / 7)
        path = folder / f"{number}.jpg"
        Image.fromarray(pixels.astype(np.uint8)).save(path, quality=92)
        yield str(path)
