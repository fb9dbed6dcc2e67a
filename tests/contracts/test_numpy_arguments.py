"""Arguments as pandas and numpy hold them: columns from `frame.columns`, numbers from a grid, weights from scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from sklearn.utils.class_weight import compute_class_weight

from tabvision.callbacks import DiscriminativeLR, ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.data import ImageDataModule, RandomSplit, TabularDataModule
from tabvision.modules import TabularModule
from tabvision.schema import Schema
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression
from tests.made.images import write_folder
from tests.made.pairs import make_frame, tabular_data
from tests.made.ratings import ratings_data
from tests.made.trainers import MakeTrainer

int64: Any = np.int64
float32: Any = np.float32
HOLDERS: list[Callable[[list[str]], Any]] = [pd.Index, np.array, pd.Series, tuple, iter]


@pytest.mark.parametrize("holder", HOLDERS, ids=["Index", "array", "Series", "tuple", "iterator"])
@pytest.mark.parametrize("option", ["categorical", "continuous", "dates", "ignore"])
def test_columns_are_named_by_whatever_holds_their_names(option: str, holder: Callable[[list[str]], Any]) -> None:
    frame = pd.DataFrame({"a": np.arange(60) % 7, "b": np.arange(60) % 5, "y": np.arange(60) % 2, "c": np.arange(60.0)})
    if option == "dates":
        frame[["a", "b"]] = np.array(["2024-01-01", "2024-02-03"])[np.arange(120).reshape(60, 2) % 2]
    options: list[dict[str, Any]] = [{option: ["a", "b"]}, {option: holder(["a", "b"])}]
    as_list, held = (TabularDataModule(frame, "y", verbose=False, **named) for named in options)

    assert held.schema == as_list.schema


@pytest.mark.parametrize("holder", HOLDERS[:4])
def test_several_targets_are_named_by_whatever_holds_their_names(holder: Callable[[list[str]], Any]) -> None:
    frame = pd.DataFrame({"a": np.arange(60) % 7, "y": np.arange(60.0), "z": np.arange(60.0) ** 2})

    assert TabularDataModule(frame, holder(["y", "z"]), verbose=False).schema.target.columns == ("y", "z")


@pytest.mark.parametrize("kind", [Binary, Multiclass, Multilabel])
@pytest.mark.parametrize("holder", [list, np.array, pd.Series, lambda it: tuple(map(float32, it))])
def test_class_weights_come_in_whatever_holds_numbers(kind: Any, holder: Callable[[list[int]], Any]) -> None:
    assert kind(class_weights=holder([1, 3])) == kind(class_weights=(1.0, 3.0))


def test_scikit_learns_class_weights_weigh_the_classes() -> None:
    frame = make_frame().iloc[:40]
    weights = compute_class_weight("balanced", classes=np.array(["no", "yes"]), y=frame["paid"])

    task = tabular_data("binary", frame, task=Binary(class_weights=weights), split=None).schema.task

    balanced = tabular_data("binary", frame, task=Binary(class_weights="balanced"), split=None).schema.task
    assert task.to_dict()["class_weights"] == pytest.approx(balanced.to_dict()["class_weights"])


def test_numbers_of_numpy_become_numbers_of_python_in_a_schema(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", {"ants": 6, "bees": 6}, size=(8, 10), kind="png")
    low, high = int64(0), float32(6)
    schemas = [
        tabular_data("binary", task=Binary(threshold=float32(0.25), label_smoothing=float32(0.125))).schema,
        tabular_data("regression", task=Regression(margin=float32(0.5))).schema,
        tabular_data("multiclass", task=Multiclass(num_classes=int64(3))).schema,
        ratings_data(y_range=(low, high)).schema,
        ImageDataModule(
            tmp_path / "photos", size=cast("Any", np.array([8, 10])), batch_size=int64(2), verbose=False
        ).schema,
    ]

    for schema in schemas:
        assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneCycle(float32(1e-2), pct_start=float32(0.25), momentum=cast("Any", np.array([0.9, 0.8, 0.9]))),
        lambda: FineTune(int64(1), float32(1e-3), float32(10)),
        lambda: Unfreeze({int64(0): int64(1), int64(1): "all"}),
        lambda: DiscriminativeLR((float32(1e-4), float32(1e-2))),
    ],
    ids=["OneCycle", "FineTune", "Unfreeze", "DiscriminativeLR"],
)
def test_a_fit_with_numbers_of_numpy_leaves_plain_data(
    make: Callable[[], Any], quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    sizes: dict[str, Any] = {
        "batch_size": int64(8),
        "seed": np.uint64(2**63),
        "split": RandomSplit(float32(0.25)),
    }
    data = tabular_data("binary", **sizes)
    module = TabularModule(data.schema, members=int64(2), dropout=float32(0.125))
    trainer = quick_trainer(max_epochs=2, callbacks=[make(), ExactResume()])

    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "fit.ckpt")

    assert TabularModule.load_from_checkpoint(tmp_path / "fit.ckpt", weights_only=True).hparams["members"] == 2
