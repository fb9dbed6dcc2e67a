"""Scales of a packed network's inputs by what each column explains of the target."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from tabvision.callbacks import FitTable
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.nets.column_sums import ColumnSums
from tabvision.nets.folded import FoldedNet
from tabvision.nets.growth import copy_table_net
from tabvision.nets.packed import PackedNet
from tabvision.nets.relevance import LEAST_SCALE, scale_inputs
from tests.made.trainers import quiet_trainer

ROWS, MEMBERS = 400, 4


def made_net() -> PackedNet:
    bins = [[-3.0, -1.0, 0.0, 1.0, 3.0]] * 2
    return PackedNet([4, 6], bins, 3, members=MEMBERS, widths=[8], own_inputs=True, direct=True).eval()


def made_rows() -> dict[str, Tensor]:
    """Rows in which the second category and, less so, the first number explain the target."""
    continuous = torch.randn(ROWS, 2)
    categorical = torch.stack([torch.randint(4, (ROWS,)), torch.randint(6, (ROWS,))], dim=1)
    sums = categorical[:, 1] // 2 + 0.5 * continuous[:, 0] + 0.2 * torch.randn(ROWS)
    target = sums.round().clamp(0, 2).long()
    fold = torch.arange(ROWS) % MEMBERS
    return {"continuous": continuous, "categorical": categorical, "target": target, "fold": fold}


def scales(net: PackedNet) -> tuple[Tensor, Tensor]:
    """The scale of each number, and of each category, (members, columns); all inputs of a column have the same."""
    found = [[net.embeddings.scale[:, list(span)] for span in spans] for spans in net.embeddings.spans()]
    for scale in (scale for of_kind in found for scale in of_kind):
        assert torch.equal(scale, scale[:, :1].expand_as(scale))
    numbers, categories = (torch.stack([scale[:, 0] for scale in of_kind], dim=1) for of_kind in found)
    return numbers, categories


def test_columns_are_scaled_by_what_they_explain() -> None:
    net = made_net()
    scale_inputs(net, made_rows())

    numbers, categories = scales(net)
    assert (categories[:, 1] == 1).all()
    assert ((numbers[:, 0] > 0.4) & (numbers[:, 0] < 0.9)).all()
    for irrelevant in (numbers[:, 1], categories[:, 0]):
        assert ((irrelevant >= LEAST_SCALE) & (irrelevant < 0.4)).all()


def test_a_member_does_not_look_at_its_own_fold() -> None:
    net, rows = made_net(), made_rows()
    scale_inputs(net, rows)
    before = net.embeddings.scale.clone()

    is_first = rows["fold"] == 0
    rows["target"][is_first] = rows["target"][is_first].flip(0)
    scale_inputs(net, rows)

    assert torch.allclose(net.embeddings.scale[0], before[0], atol=1e-6)
    assert not torch.allclose(net.embeddings.scale[1:], before[1:], atol=1e-3)


def test_a_row_weighs_as_often_as_it_occurs() -> None:
    net, rows = made_net(), made_rows()
    kept = torch.rand(ROWS) < 0.5
    scale_inputs(net, {name: value[kept] for name, value in rows.items()})
    found = net.embeddings.scale.clone()

    scale_inputs(net, {**rows, "weight": 3.0 * kept})

    assert torch.allclose(net.embeddings.scale, found, atol=1e-6)


def test_an_id_explains_nothing() -> None:
    bins = [[-3.0, 0.0, 3.0]]
    net = PackedNet([ROWS], bins, 3, members=MEMBERS, widths=[8], own_inputs=True, direct=True)
    rows = made_rows()
    rows |= {"continuous": rows["continuous"][:, :1], "categorical": torch.arange(ROWS).unsqueeze(1)}
    scale_inputs(net, rows)

    numbers, categories = scales(net)
    assert (numbers == 1).all()
    assert (categories == LEAST_SCALE).all()


@pytest.mark.parametrize("target", [torch.zeros(ROWS).long(), torch.randn(ROWS, 1), torch.ones(ROWS, 3)])
def test_numbers_labels_and_a_single_class_leave_the_scales_at_one(target: Tensor) -> None:
    net = made_net()
    scale_inputs(net, made_rows() | {"target": target})
    assert (net.embeddings.scale == 1).all()


def test_one_row_leaves_the_scales_at_one() -> None:
    net = made_net()
    scale_inputs(net, {name: value[:1] for name, value in made_rows().items()})
    assert (net.embeddings.scale == 1).all()


def test_the_scale_is_the_adjusted_correlation_ratio() -> None:
    net, rows = made_net(), made_rows()
    scale_inputs(net, rows)
    frame = pd.DataFrame({"y": rows["target"], "a": rows["categorical"][:, 0], "b": rows["categorical"][:, 1]})
    frame = frame[rows["fold"].numpy() != 2]

    def explained(column: str) -> float:
        gini = 1 - (frame["y"].value_counts(normalize=True) ** 2).sum()
        inside = 1 - frame.groupby(column)["y"].value_counts(normalize=True).pow(2).groupby(level=0).sum()
        left = (inside * frame[column].value_counts(normalize=True).sort_index()).sum() / gini
        adjusted = 1 - left * (len(frame) - 1) / (free := len(frame) - frame[column].nunique())
        return float(max(0, adjusted * free / len(frame)))

    relative = np.sqrt(explained("a") / explained("b"))
    assert scales(net)[1][2, 0].item() == pytest.approx(LEAST_SCALE + (1 - LEAST_SCALE) * relative, abs=1e-6)


def test_every_form_of_the_network_uses_the_scales() -> None:
    net, rows = made_net(), made_rows()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    inputs = rows["continuous"], rows["categorical"]
    before = net(*inputs)
    scale_inputs(net, rows)
    after = net(*inputs)
    assert not torch.allclose(after, before, atol=0.01)

    assert torch.allclose(FoldedNet(net)(*inputs), after, atol=1e-5)
    sums = ColumnSums(net)
    old = sums.inputs([1], [0], inputs[0][:, [1]], inputs[1][:, [0]])
    new = sums.inputs([1], [0], inputs[0][:, [1]].flip(0), inputs[1][:, [0]].flip(0))
    exchanged = [torch.stack([table[:, 0], table[:, 1]], dim=1) for table in inputs]
    exchanged[0][:, 1], exchanged[1][:, 0] = inputs[0][:, 1].flip(0), inputs[1][:, 0].flip(0)
    assert torch.allclose(sums.exchange(sums.of(*inputs), [1], [0], old, new), net(*exchanged), atol=1e-5)


def test_only_a_first_fit_measures_the_columns() -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame["d"] = generator.choice(["u", "v"], size=ROWS)
    frame["y"] = np.where(frame["a"] + 0.3 * frame["b"] + 0.1 * generator.normal(size=ROWS) > 0, "yes", "no")
    data = TabularDataModule(frame, "y", split=None, batch_size=64)
    module: Any = TabularModule(data, members=MEMBERS)

    quiet_trainer(max_epochs=2, callbacks=[FitTable()]).fit(module, data)
    found = module.net.embeddings.scale.clone()
    numbers, _ = scales(module.net)
    assert (numbers[:, 0] == 1).all()
    assert (numbers[:, 2] < numbers[:, 1]).all()

    other = TabularDataModule(
        frame.assign(y=np.where(frame["c"] > 0, "yes", "no")), "y", schema=module.schema, split=None, batch_size=64
    )
    quiet_trainer(max_epochs=2, callbacks=[FitTable()]).fit(module, other)
    assert torch.equal(module.net.embeddings.scale, found)


def test_a_fit_that_an_older_version_began_goes_on_without_scales(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame(generator.normal(size=(80, 2)), columns=["a", "b"])
    frame["y"] = np.where(frame["a"] > 0, "yes", "no")
    data = TabularDataModule(frame, "y", split=None, batch_size=64)
    trainer = quiet_trainer(max_epochs=2, callbacks=[FitTable()])
    trainer.fit(TabularModule(data, members=MEMBERS), data)
    trainer.save_checkpoint(tmp_path / "new.ckpt")
    state = torch.load(tmp_path / "new.ckpt", weights_only=True)
    for held in (state["state_dict"], *(each.get("best", {}) for each in state["callbacks"].values())):
        held.pop("net.embeddings.scale", None)
    state["current_model_state"] = dict(state["state_dict"])
    torch.save(state, tmp_path / "old.ckpt")

    module: Any = TabularModule(data, members=MEMBERS)
    quiet_trainer(max_epochs=3, callbacks=[FitTable()]).fit(
        module, data, ckpt_path=tmp_path / "old.ckpt", weights_only=True
    )

    assert (module.net.embeddings.scale == 1).all()


def test_a_grown_network_keeps_the_scales_of_its_columns() -> None:
    net, rows = made_net(), made_rows()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    scale_inputs(net, rows)
    bins = [[-3.0, -1.0, 0.0, 1.0, 3.0]] * 3
    grown = PackedNet([4, 6, 5], bins, 3, members=MEMBERS, widths=[8], own_inputs=True, direct=True).eval()
    state = {name: value for name, value in net.state_dict().items() if "layers.0.linear" not in name}
    known = {name: value for name, value in state.items() if grown.state_dict()[name].shape == value.shape}
    grown.load_state_dict({**grown.state_dict(), **known})

    copy_table_net(net, grown, has_more=False)

    more = torch.randn(ROWS, 1), torch.randint(5, (ROWS, 1))
    inputs = rows["continuous"], rows["categorical"]
    found = grown(*(torch.cat(each, dim=1) for each in zip(inputs, more, strict=True)))
    assert torch.allclose(found, net(*inputs), atol=1e-5)
    numbers, categories = scales(grown)
    assert torch.equal(numbers[:, :2], scales(net)[0])
    assert (numbers[:, 2] == 1).all()
    assert (categories[:, 2] == 1).all()
