"""A linear probe: what it minimizes, what it measures, and that its checkpoint answers as measured."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.data import ImageDataModule
from tabvision.errors import BadTypeError, BadValueError
from tabvision.inference import Predictor
from tabvision.modules import VisionModule
from tabvision.nets.backbones import make_body
from tabvision.tuning import probe
from tabvision.tuning.linear_probe import fuse_batch_norms, refitted
from tests.made.images import frame_of, write_folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("probe") / "photos", {"cat": 15, "dog": 15, "elk": 15})


def make(source: Any, target: Any = None, **settings: Any) -> tuple[VisionModule, ImageDataModule]:
    data = ImageDataModule(source, target, **{"size": 32, "verbose": False, "num_workers": 0, **settings})
    torch.manual_seed(0)
    return VisionModule(data.schema, body="test_resnet", weights=None), data


def test_a_probe_answers_from_its_checkpoint_as_it_was_measured(
    photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, data = make(photos)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()

    found = probe(module, data)
    with caplog.at_level(logging.INFO, "pytorch_lightning"):
        found.save(tmp_path / "probe.ckpt", data)

    assert "GPU available" not in caplog.text
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    val = data.parts["val"]
    answers = Predictor(tmp_path / "probe.ckpt", device="cpu").predict(data.frame.iloc[val.rows.numpy()], tta=1)
    assert len(answers) == len(val.rows)
    plain = Predictor(tmp_path / "probe.ckpt", device="cpu").predict(data.frame.iloc[val.rows.numpy()])
    truth = np.array(data.schema.target.classes)[val.tensors["target"][val.rows].numpy()]
    assert (plain["label"].to_numpy() == truth).mean() == pytest.approx(found.metrics["val/accuracy"])
    assert found.metrics["val/accuracy"] > data.baseline()["val/accuracy"]


def test_a_probe_is_saved_whole_or_not_at_all(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, data = make(photos)
    found, file = probe(module, data), tmp_path / "probe.ckpt"
    file.write_text("older")

    def stop(_trainer: object, path: Path, **_: object) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        found.save(file, data)

    assert [each.read_text() for each in tmp_path.iterdir()] == ["older"]


def test_a_refitted_head_is_the_probe_of_all_rows(photos: Path) -> None:
    module, data = make(photos)
    parts = {"train": torch.cat([data.parts[part].rows for part in ("train", "val")]), "val": data.parts["val"].rows}

    found = refitted(module, data)
    data.parts = {part: data.parts["train"]._replace(rows=rows) for part, rows in parts.items()}  # type: ignore[misc]
    expected = probe(module, data)

    assert not found.metrics
    for name, value in expected.module.head.state_dict().items():
        torch.testing.assert_close(found.module.head.state_dict()[name], value, rtol=1e-3, atol=1e-3)


def test_several_labels_and_numbers_are_probed_too(photos: Path) -> None:
    for target, settings in (("tags", {"separator": " "}), ("y", {"weight": "weight"})):
        module, data = make(frame_of(photos), target, path="file", root=photos, split=0.3, **settings)
        metrics = probe(module, data).metrics

        assert {*data.baseline()} | {"val/loss"} == {*metrics}
        assert all(np.isfinite(value) for value in metrics.values())


def test_a_body_of_ones_own_is_asked_for_again(photos: Path, tmp_path: Path) -> None:
    _, data = make(photos)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(4, 4, 3))

    found = probe(VisionModule(data.schema, body=body), data)
    found.save(tmp_path / "probe.ckpt", data)

    with pytest.raises(BadValueError, match="a body of your own"):
        Predictor(tmp_path / "probe.ckpt")
    Predictor(tmp_path / "probe.ckpt", body=body)


def test_what_cannot_be_probed_is_refused(photos: Path) -> None:
    module, data = make(photos, split=None)

    with pytest.raises(BadValueError, match="no val split"):
        probe(module, data)
    with pytest.raises(BadTypeError, match="got VisionModule and DataFrame"):
        probe(module, pd.DataFrame())


def with_statistics(net: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            for tensor in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "test_byobnet"])
def test_a_folded_body_answers_as_before_without_norms(name: str) -> None:
    body = with_statistics(make_body(name, weights=None))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    found = fuse_batch_norms(body, images)

    assert any(isinstance(layer, nn.BatchNorm2d) for layer in body.modules())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in found.modules())
    expected = body.eval()(images).detach()
    torch.testing.assert_close(found(images), expected, rtol=1e-3, atol=float(1e-4 * expected.abs().max()))


class Twice(nn.Module):
    """A network that reads a convolution's output beside the norm after it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    @override
    def forward(self, images: Tensor) -> Tensor:
        found = self.conv(images)
        answer: Tensor = self.norm(found) + found
        return answer


def test_a_network_that_folding_would_change_is_left_as_it_is() -> None:
    net, images = with_statistics(Twice()), torch.randn(2, 3, 8, 8)

    found = fuse_batch_norms(net, images)

    assert torch.equal(found(images), net.eval()(images))


def test_a_network_without_norms_is_a_plain_copy() -> None:
    net = timm.create_model("test_vit", num_classes=0)

    found = fuse_batch_norms(net, torch.zeros(1, 3, 160, 160))

    assert torch.equal(found(torch.ones(1, 3, 160, 160)), net.eval()(torch.ones(1, 3, 160, 160)))
