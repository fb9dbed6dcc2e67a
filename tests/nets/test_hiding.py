"""Some numbers are hidden in training as if they were missing."""

from typing import Any

import numpy as np
import pandas as pd
import torch

from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule
from tabvision.nets.hiding import Hidden, HideValues


def test_about_each_columns_fraction_is_hidden_and_the_rest_stays() -> None:
    torch.manual_seed(0)
    numbers, codes = torch.randn(20_000, 3), torch.randint(1, 5, (20_000, 3))
    codes[:, :2] = 1
    hide = HideValues([Hidden({1: 2, 2: 0}, {0: 9.0}, 0.1), Hidden({0: 2}, {2: 8.0}, 0.3)])

    new_numbers, new_codes = hide(numbers, codes)

    first, second = new_codes[:, 1] == 2, new_codes[:, 0] == 2
    assert 0.09 < first.float().mean() < 0.11
    assert 0.29 < second.float().mean() < 0.31
    assert 0.026 < (first & second).float().mean() < 0.034
    assert torch.equal(new_numbers[:, 0], torch.where(first, 9.0, numbers[:, 0]))
    assert torch.equal(new_numbers[:, 1], numbers[:, 1])
    assert torch.equal(new_numbers[:, 2], torch.where(second, 8.0, numbers[:, 2]))
    assert torch.equal(new_codes[:, 2], torch.where(first, 0, codes[:, 2]))


def test_a_hidden_row_is_what_the_datamodule_makes_of_a_missing_one() -> None:
    draw = np.random.default_rng(0)
    days = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 900, 64), unit="D"))
    frame = pd.DataFrame(
        {"size": draw.normal(50, 9, 64), "day": days, "kind": list("ab") * 32, "y": draw.normal(size=64)}
    )
    frame.loc[:3, ["size", "day"]] = None
    data = TabularDataModule(frame, "y", split=None, batch_size=64, verbose=False)
    batch = next(iter(data.train_dataloader()))
    net: Any = TabularModule(data.schema).net
    hide = net.embeddings.hide
    is_missing = batch["index"] <= 3

    hide.fractions.fill_(1.0)
    numbers, codes = hide(batch["continuous"], batch["categorical"])

    own = [at for at, column in enumerate(data.schema.categorical) if column.source != "kind"]
    assert torch.allclose(numbers, batch["continuous"][is_missing][:1].expand_as(numbers), atol=1e-5)
    assert torch.equal(codes[:, own], batch["categorical"][is_missing][:1, own].expand(64, -1))
    assert torch.equal(codes[is_missing], batch["categorical"][is_missing])
