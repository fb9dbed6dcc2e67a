"""TabularModule: its settings reach the net, and its layer groups are the net's parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tabvision.modules import TabularModule
from tabvision.nets.embedding_mlp import embedding_width
from tests.made.pairs import make_frame, tabular_data


def shapes(module: TabularModule) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def test_embeddings_follow_the_width_rule_unless_a_column_says_otherwise() -> None:
    schema = tabular_data("binary").schema
    cardinality = {column.name: column.cardinality for column in schema.categorical}

    module = TabularModule(schema, embedding_widths={"size": 7})

    widths = [width for name, (*_, width) in shapes(module).items() if "tables" in name]
    assert list(cardinality) == ["job", "size", "z_missing"]
    assert widths == [embedding_width(cardinality["job"]), 7, embedding_width(cardinality["z_missing"])]


def test_layer_groups_are_the_input_side_the_layers_and_the_head() -> None:
    module = TabularModule(tabular_data("binary").schema)

    assert [group.name for group in module.layer_groups()] == ["embeddings", "layers", "head"]


def test_a_linear_model_without_layers_has_no_empty_group() -> None:
    frame = make_frame()
    data = tabular_data("binary", frame, ignore=["job", "size", *frame.columns[4:].drop("paid")], categorical=[])
    module = TabularModule(data.schema, widths=[], continuous_norm=False)

    assert [group.name for group in module.layer_groups()][-1] == "head"
    assert all(len(group) for group in module.layer_groups())


@pytest.mark.parametrize(
    "settings",
    [
        {"widths": []},
        {"widths": (5, 4, 3)},
        {"batch_norm": False, "continuous_norm": False},
        {"dropout": [0.1, 0.2], "embedding_dropout": 0.3, "unknown_share": 0.1},
        {"activation": "gelu"},
        {"activation": "mish"},
        {"numbers": "piecewise"},
    ],
    ids=str,
)
def test_every_choice_gives_logits_and_gradients(settings: dict[str, Any]) -> None:
    data = tabular_data("multiclass", make_frame(200))
    module = TabularModule(data.schema, **settings)
    batch = next(iter(data.train_dataloader()))

    torch.autograd.backward(module.task.loss(module(batch), batch["target"]).sum())

    assert all(parameter.grad is not None for parameter in module.parameters())


def test_an_unseen_category_has_the_row_of_missing_ones() -> None:
    data = tabular_data("binary")
    module = TabularModule(data.schema).eval()
    batch = next(iter(data.loader("val")))

    batch["categorical"] = torch.zeros_like(batch["categorical"])

    assert module(batch).isfinite().all()
