"""Checkpoints of VisionModule need no download, and its schema must be that of the data."""

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging
from torch import Tensor, nn

from tabvision.errors import BadValueError
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.modules import VisionModule
from tabvision.schema import Schema
from tabvision.tasks import Multiclass
from tests.made.crops import HALF, LITE0, loader, own_body, photos, schema_of
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer, saved


@pytest.mark.parametrize("body", slow_but(["test_resnet"], [LITE0, "test_resnet"]))
def test_a_checkpoint_is_opened_without_the_weights_it_began_with(
    body: str, quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    file, schema, batches = tmp_path / "weights.pth", schema_of(side=32), loader(16, side=32)
    torch.save(VisionModule(schema, body=body, weights=None).body.net.state_dict(), file)
    module = VisionModule(schema, body=body, weights=file)
    trainer = quick_trainer()
    trainer.fit(module, batches, batches)
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    file.unlink()

    opened = open_checkpoint(tmp_path / "module.ckpt").module
    loaded = VisionModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True).eval()

    images, _ = photos(4, side=32)
    expected = module.eval()({"image": images})
    assert opened.schema == loaded.schema == module.schema
    assert torch.equal(opened({"image": images}), expected)
    assert torch.equal(loaded({"image": images}), expected)


def test_a_body_of_ones_own_is_passed_again(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    module = VisionModule(schema_of(), body=own_body())
    trainer = quick_trainer()
    trainer.fit(module, loader(), loader())
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    with pytest.raises(BadValueError, match="a body of your own, which no checkpoint holds"):
        open_checkpoint(tmp_path / "own.ckpt")
    loaded = VisionModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True, body=own_body()).eval()

    images, _ = photos(4)
    assert torch.equal(loaded({"image": images}), module.eval()({"image": images}))


def test_a_head_of_ones_own_is_passed_again(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    def head(num_features: int, num_outputs: int) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(num_features, num_outputs))

    module = VisionModule(schema_of(), body="test_resnet", weights=None, head=head)
    trainer = quick_trainer()
    trainer.fit(module, loader(), loader())
    trainer.save_checkpoint(tmp_path / "own.ckpt")

    with pytest.raises(
        BadValueError, match=r"a head of your own, which no checkpoint holds. Pass it again: load_from_ch"
    ):
        open_checkpoint(tmp_path / "own.ckpt")
    loaded = VisionModule.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True, head=head).eval()

    images, _ = photos(4)
    assert torch.equal(loaded({"image": images}), module.eval()({"image": images}))


def test_lightnings_own_callback_averages_weights(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    body, batches = own_body(), loader()

    def trained(*callbacks: Callback) -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = VisionModule(schema_of(), body=copy.deepcopy(body))
        trainer = quick_trainer(max_epochs=2, callbacks=list(callbacks))
        trainer.fit(module, batches, batches)
        trainer.save_checkpoint(tmp_path / "ema.ckpt")
        return module.state_dict()

    plain, last = trained(), trained(EMAWeightAveraging(decay=0.0))
    averaged = trained(EMAWeightAveraging(decay=0.9))
    loaded = VisionModule.load_from_checkpoint(tmp_path / "ema.ckpt", weights_only=True, body=own_body()).state_dict()

    assert all(torch.equal(tensor, last[name]) for name, tensor in plain.items())
    assert not torch.equal(plain["head.4.weight"], averaged["head.4.weight"])
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in averaged.items())


# The data's schema.


class Data(pl.LightningDataModule):
    """A datamodule that has only what is asked here: a schema and batches."""

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        self.schema = schema

    def val_dataloader(self) -> Any:
        return loader(16)


def test_data_that_leaves_the_statistics_to_the_weights_is_the_same_data(quick_trainer: MakeTrainer) -> None:
    module = VisionModule(schema_of(), body=own_body())

    quick_trainer().validate(module, Data(schema_of()), verbose=False)
    quick_trainer().validate(module, Data(module.schema), verbose=False)


@pytest.mark.parametrize(
    ("schema", "difference"),
    [
        (schema_of(mean=HALF, std=HALF), "image"),
        (schema_of(side=32), "image"),
        (Schema(target=schema_of().target), "image"),
        (schema_of(Multiclass(3)), "target"),
    ],
)
def test_other_data_is_refused(schema: Schema, difference: str, quick_trainer: MakeTrainer) -> None:
    module = VisionModule(schema_of(), body=own_body())

    with pytest.raises(BadValueError, match=f"prepared for another schema; what differs: {difference}. "):
        quick_trainer().validate(module, Data(schema), verbose=False)


def test_the_schema_of_the_data_may_be_passed_with_a_checkpoint_and_is_compared(tmp_path: Path) -> None:
    schema = schema_of()
    path = saved(VisionModule(schema, body="test_resnet", weights=None), tmp_path / "module.ckpt")

    for same in (schema, schema.to_dict()):
        loaded = VisionModule.load_from_checkpoint(path, weights_only=True, schema=same)
        assert loaded.schema == schema.with_statistics(loaded.body.mean, loaded.body.spread)
    with pytest.raises(BadValueError) as stop:
        VisionModule.load_from_checkpoint(path, weights_only=True, schema=schema_of(Multiclass(3)))
    assert str(stop.value).startswith("VisionModule: the checkpoint has another schema; what differs: target. ")
    assert 'VisionModule(data.schema, body=..., weights="own.ckpt")' in str(stop.value)


def test_more_classes_go_on_from_the_body_of_ones_own_checkpoint(tmp_path: Path) -> None:
    first = VisionModule(schema_of(), body="test_resnet", weights=None)
    path = saved(first, tmp_path / "own.ckpt")

    module = VisionModule(schema_of(Multiclass(3)), body="test_resnet", weights=path)

    assert module.task.num_outputs == 3
    body, expected = module.body.state_dict(), first.body.state_dict()
    assert all(torch.equal(body[name], expected[name]) for name in expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")
def test_a_checkpoint_of_a_compiled_body_opens_and_resumes_like_any_other(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    module = VisionModule(schema_of(), body="test_resnet", weights=None)
    images, _ = photos(4)
    expected = module.eval()({"image": images})
    module.body = torch.compile(module.body, backend="eager")  # type: ignore[assignment]
    path = saved(module, tmp_path / "compiled.ckpt")

    contents = torch.load(path, weights_only=True)
    assert not [name for name in contents["state_dict"] if "_orig_mod" in name]
    assert torch.equal(open_checkpoint(path).module({"image": images}), expected)
    VisionModule(schema_of(), body="test_resnet", weights=path)

    again = VisionModule(schema_of(), body="test_resnet", weights=None)
    again.body = torch.compile(again.body, backend="eager")  # type: ignore[assignment]
    quick_trainer().validate(again, loader(), ckpt_path=path, weights_only=True, verbose=False)
    assert torch.equal(again.eval()({"image": images}), expected)

    older = {name.replace("body.", "body._orig_mod."): value for name, value in contents["state_dict"].items()}
    torch.save({**contents, "state_dict": older}, tmp_path / "older.ckpt")
    assert torch.equal(open_checkpoint(tmp_path / "older.ckpt").module({"image": images}), expected)
    VisionModule(schema_of(), body="test_resnet", weights=tmp_path / "older.ckpt")
