"""The raw loop trains the same net."""

import time
from typing import Any

import pandas as pd
import torch
from torch import nn

from benchmarks.raw_loop import RawLoop, raw_epoch_seconds, torch_layers, training_tensors
from tabvision.data import TabularDataModule
from tabvision.modules import TabularModule


def made() -> TabularDataModule:
    frame = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5] * 8, "job": ["a", "b"] * 16, "pay": [float(n) for n in range(32)]})
    return TabularDataModule(frame, "pay", batch_size=8, verbose=False)


def test_torch_layers_answer_the_same() -> None:
    data = made()
    net: Any = TabularModule(data.schema, net="mlp", dropout=0.5).net
    batch = next(iter(data.loader("val")))
    before = net.train()(batch["continuous"], batch["categorical"]).shape
    expected = net.eval()(batch["continuous"], batch["categorical"])

    plain = torch_layers(net).eval()

    assert torch.equal(plain(batch["continuous"], batch["categorical"]), expected)
    assert before == expected.shape
    assert {type(layer) for layer in net.layers} == {nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout}


def test_targets_are_as_the_loss_takes_them_and_every_epoch_is_timed() -> None:
    _, codes, target = training_tensors(made())
    assert codes.dtype == torch.int64
    assert abs(float(target.mean())) < 1e-5
    assert target.shape == (len(codes), 1)

    cases: tuple[dict[str, Any], ...] = ({"net": "mlp", "dropout": 0.1}, {})
    for settings in cases:
        seconds = raw_epoch_seconds(RawLoop(made(), settings, averaged=not settings), epochs=3, now=time.perf_counter)
        assert len(seconds) == 3
        assert min(seconds) > 0
