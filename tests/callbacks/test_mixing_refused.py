"""What cannot be blended is refused in a sentence before a step is taken."""

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from tabvision.callbacks import CutMix, MixUp
from tabvision.callbacks.mixing import _Mixing
from tabvision.data.loaders import TensorLoader
from tabvision.errors import BadTypeError, BadValueError
from tabvision.tasks import Multiclass
from tests.made.modules import CLASSES, image_rows, looker
from tests.made.trainers import MakeTrainer, quiet_trainer


def test_two_ways_of_blending_are_refused(quick_trainer: MakeTrainer) -> None:
    trainer = quick_trainer(callbacks=[MixUp(), CutMix()])

    with pytest.raises(BadValueError, match="only one callback may set how rows are mixed, got MixUp and CutMix"):
        trainer.fit(looker(Multiclass(CLASSES)), TensorLoader(image_rows(), batch_size=8))


@pytest.mark.parametrize(
    ("callback", "batch", "error", "sentence"),
    [
        (
            MixUp(),
            {"continuous": 2, "categorical": 2, "target": 1},
            BadValueError,
            r"the batch has \['categorical'\]. L",
        ),
        (
            CutMix(),
            {"image": 4, "continuous": 2, "target": 1},
            BadValueError,
            r"only 'image' can be blended, and .* \['continuous'\]",
        ),
        (
            CutMix(),
            {"continuous": 2, "target": 1},
            BadValueError,
            r"only 'image' can be blended, and the batch has \['continuous'\]",
        ),
        (
            MixUp(),
            {"x": 2, "target": 1},
            BadValueError,
            r"only 'image' or 'continuous' can be blended, .* \['target', 'x'\]",
        ),
        (MixUp(inputs=["x"]), {"x": 2, "y": 1}, BadValueError, r"the batch lacks \['target'\], it has \['x', 'y'\]"),
        (MixUp(inputs=["z"]), {"x": 2, "target": 1}, BadValueError, r"the batch lacks \['z'\]"),
        (
            CutMix(inputs=["x"]),
            {"x": 2, "target": 1},
            BadValueError,
            r"inputs must be images .*, and 'x' has shape \(3, 3\)",
        ),
        (MixUp(), {"image": 4, "target": 1}, BadValueError, "no tabvision task that says how many classes"),
    ],
)
def test_a_batch_that_cannot_be_blended_is_refused(
    callback: _Mixing, batch: dict[str, int], error: type[Exception], sentence: str
) -> None:
    made: dict[str, Tensor] = {
        key: torch.zeros([3] * num_dims, dtype=torch.int64 if key == "target" else torch.float32)
        for key, num_dims in batch.items()
    }

    with pytest.raises(error, match=sentence):
        callback.on_train_batch_start(quiet_trainer(), pl.LightningModule(), made, 0)


def test_an_empty_part_of_a_batch_does_not_count() -> None:
    batch = {"continuous": torch.eye(3), "categorical": torch.zeros(3, 0, dtype=torch.int64), "target": torch.eye(3)}

    MixUp().on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)

    torch.testing.assert_close(batch["continuous"], batch["target"])


def test_bytes_are_refused_by_mixup_and_taken_by_cutmix() -> None:
    batch = {"image": torch.zeros(2, 3, 4, 4, dtype=torch.uint8), "target": torch.eye(2)}

    CutMix().on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)
    with pytest.raises(BadTypeError, match=r"inputs must be floating-point numbers, and 'image' is torch.uint8"):
        MixUp().on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)


def test_a_class_code_above_the_stated_number_is_refused() -> None:
    batch = {"image": torch.zeros(2, 3, 4, 4), "target": torch.tensor([0, 3])}

    with pytest.raises(BadValueError, match="class codes must be below num_classes=3, got 3"):
        MixUp(num_classes=3).on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)


def test_counting_from_the_last_epoch_needs_one() -> None:
    trainer = quiet_trainer(max_epochs=-1, callbacks=[MixUp(off_epochs=2)])

    with pytest.raises(BadValueError, match="off_epochs=2 counts from the last epoch, but the Trainer has no max_ep"):
        trainer.fit(looker(Multiclass(CLASSES)), TensorLoader(image_rows(), batch_size=8))
