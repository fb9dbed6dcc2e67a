"""gather: every row once, in the order of the source, or a sentence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import gather
from tests.made.pairs import make_frame, tabular_data
from tests.made.trained import trained
from tests.made.trainers import MakeTrainer


def output(*rows: int) -> dict[str, Tensor]:
    index = torch.tensor(rows, dtype=torch.int64)
    return {"predictions": index[:, None].float() * 10, "index": index}


def test_rows_are_sorted_by_their_number() -> None:
    gathered = gather([output(5, 2), output(9), output(0, 7)])

    assert gathered["index"].tolist() == [0, 2, 5, 7, 9]
    assert gathered["predictions"].flatten().tolist() == [0.0, 20.0, 50.0, 70.0, 90.0]


def test_batches_without_rows_are_passed_over() -> None:
    empty = {"predictions": torch.empty(0, 1), "index": torch.empty(0, dtype=torch.int64)}

    assert gather([empty, output(1), empty])["index"].tolist() == [1]


@pytest.mark.parametrize("outputs", [None, []])
def test_nothing_gives_nothing(outputs: Any) -> None:
    gathered = gather(outputs)

    assert gathered["index"].shape == (0,)
    assert gathered["index"].dtype == torch.int64
    assert gathered["predictions"].shape == (0, 0)


def test_a_row_that_comes_twice_is_refused() -> None:
    with pytest.raises(BadValueError, match="gather: each row must come once, but 2 rows came again"):
        gather([output(1, 2, 3), output(3, 1)])


@pytest.mark.parametrize(
    "outputs", [[torch.zeros(3)], [[output(1)], [output(2)]], [{"predictions": torch.zeros(1)}], [3]]
)
def test_outputs_of_something_else_are_refused(outputs: Any) -> None:
    with pytest.raises(BadTypeError, match="gather: each output must be a dict with predictions and index, got "):
        gather(outputs)


@pytest.mark.parametrize("part", ["train", "val"])
def test_every_row_of_a_part_comes_once_in_the_order_of_the_source(part: Any, quick_trainer: MakeTrainer) -> None:
    _, data, module = trained("multiclass")

    gathered = gather(quick_trainer().predict(module, data.loader(part)))

    assert torch.equal(gathered["index"], data.parts[part].rows.sort().values)


def test_rows_to_predict_are_numbered_as_in_their_own_source(quick_trainer: MakeTrainer) -> None:
    _, data, module = trained("binary")
    other = tabular_data("binary", data.frame, schema=data.schema, ignore=None, predict=make_frame(33, seed=4))

    gathered = gather(quick_trainer().predict(module, other))

    assert gathered["index"].tolist() == list(range(33))
