"""TabularModule: its settings reach the net, and its layer groups are the net's parts."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from tabvision.data import TabularDataModule
from tabvision.errors import BadValueError, UnknownNameError
from tabvision.modules import TabularModule
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.embeddings import embedding_width
from tabvision.nets.packed import PackedNet
from tabvision.schema import Continuous, Schema, Target
from tabvision.tasks import Multiclass, Regression
from tests.made.pairs import make_frame, tabular_data


def shapes(module: TabularModule) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}


def test_embeddings_follow_the_width_rule_unless_a_column_says_otherwise() -> None:
    schema = tabular_data("binary").schema
    cardinality = {column.name: column.cardinality for column in schema.categorical}

    module = TabularModule(schema, embedding_widths={"size": 7})

    net: Any = module.net
    widths = [net.embeddings.categories.table(column).shape[1] for column in range(3)]
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
        pytest.param({"numbers": lambda columns: nn.Linear(len(columns), 5)}, id="an encoder of one's own"),
    ],
    ids=str,
)
def test_every_choice_gives_logits_and_gradients(settings: dict[str, Any]) -> None:
    data = tabular_data("multiclass", make_frame(200))
    module = TabularModule(data.schema, **settings)
    batch = next(iter(data.train_dataloader()))

    torch.autograd.backward(module.task.loss(module(batch), batch["target"]).sum())

    assert all(parameter.grad is not None for parameter in module.parameters())


def test_settings_that_have_an_effect_are_saved_and_others_are_not() -> None:
    schema = tabular_data("binary").schema

    plain = TabularModule(schema, squash=False).hparams
    piecewise = TabularModule(schema, numbers="piecewise").hparams

    assert (plain["squash"], plain["continuous_norm"]) == (False, True)
    assert (piecewise["squash"], piecewise["continuous_norm"]) == (None, None)


def test_a_checkpoint_of_format_1_drops_settings_without_effect() -> None:
    saved = tabular_data("binary").schema.to_dict() | {"format": 1}

    module = TabularModule(saved, numbers="piecewise", squash=True, continuous_norm=True)

    assert (module.hparams["squash"], module.hparams["continuous_norm"]) == (None, None)


def test_an_encoder_of_numbers_of_ones_own_learns_and_is_passed_again(
    quick_trainer: Callable[..., pl.Trainer], tmp_path: Path
) -> None:
    data = tabular_data("binary", make_frame(200))
    encoder = nn.Sequential(nn.Linear(len(data.schema.continuous), 6), nn.ReLU())
    module, trainer = TabularModule(data.schema, numbers=encoder), quick_trainer(max_epochs=1)
    before = copy.deepcopy(encoder)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    with pytest.raises(
        BadValueError, match=r"with an encoder of numbers of your own.*load_from_checkpoint\(path, numb"
    ):
        TabularModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True)
    loaded = TabularModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True, numbers=before).eval()

    batch = next(iter(data.loader("val")))
    assert torch.equal(loaded(batch), module.eval()(batch))
    assert module.hparams["numbers"] == "own"


def test_an_encoder_that_takes_other_numbers_than_the_rows_have_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"the encoder of numbers does not accept rows of shape \(2,\)"):
        TabularModule(tabular_data("binary").schema, numbers=nn.Linear(99, 2))


def test_an_encoder_of_numbers_needs_numbers() -> None:
    frame = make_frame(50)
    data = tabular_data("binary", frame, ignore=[*frame.columns.drop(["job", "paid"])], categorical=["job"])
    assert not data.schema.continuous

    with pytest.raises(BadValueError, match=r"the rows have no numbers for numbers= to encode\. Leave numbers out"):
        TabularModule(data.schema, numbers=nn.Linear(1, 1))


def test_an_unseen_category_has_the_row_of_missing_ones() -> None:
    data = tabular_data("binary")
    module = TabularModule(data.schema).eval()
    batch = next(iter(data.loader("val")))

    batch["categorical"] = torch.zeros_like(batch["categorical"])

    assert module(batch).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "net"),
    [
        ({}, "packed"),
        ({"members": 2, "member_widths": [8], "own_inputs": False, "dropout": 0.1, "unknown_share": 0.0}, "packed"),
        ({"widths": [8]}, "mlp"),
        ({"squash": False}, "mlp"),
        ({"numbers": "plain"}, "mlp"),
        ({"net": "mlp"}, "mlp"),
    ],
    ids=str,
)
def test_the_settings_choose_the_network(settings: dict[str, Any], net: str) -> None:
    module = TabularModule(tabular_data("binary").schema, **settings)

    assert module.hparams["net"] == net
    assert type(module.net) is (PackedNet if net == "packed" else EmbeddingMLP)
    assert module.hparams["lr"] == (1.5e-2 if net == "packed" else 3e-2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"widths": [8], "members": 4}, "members has no effect with net='mlp'"),
        ({"net": "mlp", "own_inputs": True}, "own_inputs has no effect with net='mlp'"),
        ({"widths": [8], "bin_parts": 2}, "bin_parts has no effect with net='mlp'"),
        ({"net": "packed", "activation": "relu"}, "activation has no effect with net='packed'"),
        ({"net": nn.Identity(), "dropout": 0.1}, "dropout has no effect with net='own'"),
        ({"net": "boosting"}, "no net named 'boosting'"),
    ],
)
def test_settings_of_two_networks_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=words):
        TabularModule(tabular_data("binary").schema, **settings)


@pytest.mark.parametrize(("rows", "parts"), [(0, 1), (1_535, 1), (1_536, 2), (1_000_000, 8)])
def test_more_rows_tell_finer_parts_of_the_bins_apart(rows: int, parts: int) -> None:
    schema = tabular_data("regression").schema
    schema = dataclasses.replace(schema, target=dataclasses.replace(schema.target, num_rows=rows))

    assert TabularModule(schema).hparams["bin_parts"] == parts


def test_a_small_table_gets_more_members_with_inputs_of_their_own() -> None:
    schema = tabular_data("regression").schema
    large = dataclasses.replace(schema, target=dataclasses.replace(schema.target, num_rows=20_000))

    few, many = TabularModule(schema), TabularModule(large)

    assert (few.hparams["members"], few.hparams["own_inputs"], few.fold_members) == (8, True, 8)
    assert (many.hparams["members"], many.hparams["own_inputs"], many.fold_members) == (4, False, 1)
    assert [_has_direct(each) for each in (few, many, TabularModule(tabular_data("binary").schema))] == [
        True,
        False,
        True,
    ]


def test_a_large_table_of_relative_errors_trains_at_a_lower_rate() -> None:
    schema = tabular_data("regression").schema
    assert isinstance(schema.task, Regression)
    rates = []
    for error in ("mse", "tweedie"):
        for rows in (300, 20_000):
            task = dataclasses.replace(schema.task, error=error)
            target = dataclasses.replace(schema.target, num_rows=rows, task=task)
            rates.append(TabularModule(dataclasses.replace(schema, target=target)).hparams["lr"])

    assert rates == [1.5e-2, 1.5e-2, 1.5e-2, 1.5e-3]


def _has_direct(module: TabularModule) -> bool:
    return any(".direct." in name for name, _ in module.named_parameters())


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel_text", "regression_several"])
def test_the_answer_is_the_mean_of_the_members(target: str) -> None:
    data = tabular_data(target, make_frame(200))
    module = TabularModule(data.schema).eval()
    batch = next(iter(data.train_dataloader()))

    with torch.no_grad():
        answer = module.task.activate(module(batch))
        members = module.member_logits(batch)
        each = torch.stack([module.task.activate(members[:, member]) for member in range(members.shape[1])])

    torch.testing.assert_close(answer, each.mean(0), rtol=1e-4, atol=1e-5)


def test_a_network_of_ones_own_trains_and_is_passed_again(
    quick_trainer: Callable[..., pl.Trainer], tmp_path: Path
) -> None:
    data = tabular_data("binary", make_frame(200))

    class Own(nn.Module):
        def __init__(self, schema: Schema) -> None:
            super().__init__()
            self.linear = nn.Linear(len(schema.continuous), 2)

        def forward(self, continuous: torch.Tensor, _categorical: torch.Tensor) -> torch.Tensor:
            return self.linear(continuous).unsqueeze(2)  # type: ignore[no-any-return]  # two members of one logit

    module, trainer = TabularModule(data.schema, net=Own), quick_trainer(max_epochs=1)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    with pytest.raises(BadValueError, match=r"trained with a network of your own.*load_from_checkpoint\(path, net"):
        TabularModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True)
    loaded = TabularModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True, net=Own).eval()
    batch = next(iter(data.loader("val")))
    assert torch.equal(loaded(batch), module.eval()(batch))
    assert loaded(batch).shape == (len(batch["target"]), 1)


def test_numbers_of_a_schema_made_by_hand_have_an_effect_though_their_range_is_not_recorded() -> None:
    area = Continuous(name="area", source="area", mean=0.0, std=1.0, fill=0.0)
    schema = Schema(target=Target(columns=("pay",), task=Regression(mean=(0.0,), spread=(1.0,))), continuous=(area,))
    module = TabularModule(schema).eval()
    constant = TabularModule(
        dataclasses.replace(schema, continuous=(dataclasses.replace(area, low=1.0, high=1.0),))
    ).eval()
    numbers = torch.tensor([[-2.0], [0.0], [2.0], [20.0]])
    batch: Any = {"continuous": numbers, "categorical": torch.zeros(4, 0, dtype=torch.long)}

    with torch.no_grad():
        assert len(module(batch).unique()) == 4
        assert len(constant(batch).unique()) == 1  # a column with one value in training has no effect


@pytest.mark.parametrize("classes", [["no"] * 3 + ["yes"], ["a"] * 6 + ["b", "c"]], ids=["binary", "multiclass"])
def test_a_new_network_starts_with_the_frequencies_of_the_classes(classes: list[str]) -> None:
    frame = pd.DataFrame({"x": np.arange(240.0), "y": classes * (240 // len(classes))})
    schema, weighted = (
        TabularDataModule(frame, "y", task=task, split=None, verbose=False).schema
        for task in (None, Multiclass(class_weights="balanced"))
    )

    bias = TabularModule(schema).get_parameter("net.head.bias").flatten(0, 1)

    frequencies = tuple(frame["y"].value_counts(normalize=True).sort_index())
    assert schema.target.frequencies == frequencies
    assert torch.allclose(schema.task.activate(bias), torch.tensor(frequencies))
    assert not TabularModule(weighted).get_parameter("net.head.bias").any()
