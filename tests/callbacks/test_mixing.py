"""Blended rows: the formula, the task's soft targets, a resumed fit to the bit."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from tabvision.augment.mix import blend_rows, box_of, fraction_outside
from tabvision.callbacks import CutMix, ExactResume, MixUp
from tabvision.callbacks.mixing import _Mixing
from tabvision.data import RandomSplit, TabularDataModule
from tabvision.data.loaders import TensorLoader
from tabvision.modules import TabularModule
from tabvision.tasks import Binary, Multiclass, Multilabel, Regression, Task
from tabvision.tuning import lr_find
from tests.made.modules import CLASSES, ROWS, Looker, Saver, different, image_rows, looker
from tests.made.trainers import MakeTrainer, quiet_trainer

EPOCHS, PER_EPOCH = 3, 3


class Given:
    """A loader that hands out the same batches in every epoch."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


class WithTask(pl.LightningModule):
    """A module that says what kind of target it has."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task


def fitted(make: MakeTrainer, callback: _Mixing, loader: Any, module: Looker, **settings: Any) -> list[Any]:
    make(callbacks=[callback], **settings).fit(module, loader)
    return module.seen


def test_mixup_is_the_formula_with_each_rows_own_share(quick_trainer: MakeTrainer) -> None:
    data = image_rows()
    module = looker(Multiclass(CLASSES))

    seen = fitted(quick_trainer, MixUp(0.4, seed=5), TensorLoader(data, batch_size=8), module, max_epochs=2)

    assert len(seen) == 2 * PER_EPOCH
    for place, batch in enumerate(seen):
        rows = batch["index"]
        draw = np.random.default_rng((5, place // PER_EPOCH, place % PER_EPOCH, 0))
        order = draw.permutation(8)
        drawn = draw.beta(0.4, 0.4, 8)
        shares = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float()
        images, codes = data["image"][rows], nn.functional.one_hot(data["target"][rows], CLASSES).float()
        torch.testing.assert_close(batch["image"], blend_rows(images, shares, torch.from_numpy(order)))
        torch.testing.assert_close(batch["target"], blend_rows(codes, shares, torch.from_numpy(order)))
        assert float(shares.min()) >= 0.5
        assert len(set(shares.tolist())) == 8


def test_cutmix_pastes_one_box_a_batch_and_shares_the_target_by_area(quick_trainer: MakeTrainer) -> None:
    data = image_rows()
    module = looker(Multiclass(CLASSES))

    seen = fitted(quick_trainer, CutMix(seed=2), TensorLoader(data, batch_size=8), module)

    for step, batch in enumerate(seen):
        draw = np.random.default_rng((2, 0, step, 0))
        order = torch.from_numpy(draw.permutation(8))
        top, bottom, left, right = box = box_of(draw.beta(1, 1), (draw.random(), draw.random()), (6, 8))
        images, codes = data["image"][batch["index"]], nn.functional.one_hot(data["target"][batch["index"]], CLASSES)
        expected = images.clone()
        expected[:, :, top:bottom, left:right] = images[order][:, :, top:bottom, left:right]
        assert torch.equal(batch["image"], expected)
        share = fraction_outside(box, (6, 8))
        torch.testing.assert_close(batch["target"], share * codes + (1 - share) * codes[order])


def test_shares_are_those_of_the_beta_distribution() -> None:
    batch = {"continuous": torch.eye(4_000)[:, :2], "target": torch.arange(4_000).float()}
    order = torch.arange(4_000)

    shares = MixUp(0.4).mix_inputs(batch, ["continuous"], order, np.random.default_rng(0))

    drawn = torch.distributions.Beta(0.4, 0.4).sample((40_000,))
    parts = torch.tensor([0.1, 0.25, 0.5, 0.75])
    torch.testing.assert_close(
        shares.quantile(parts), torch.maximum(drawn, 1 - drawn).quantile(parts), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("place", range(4))
def test_seed_epoch_batch_and_rank_each_change_what_is_drawn(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def blended(seed: int, epoch: int, step: int, micro_batch: int) -> Tensor:
        monkeypatch.setattr("tabvision.callbacks.mixing.micro_batch_at", lambda *_: (step, micro_batch))
        trainer = quiet_trainer()
        trainer.fit_loop.epoch_progress.current.completed = epoch
        batch = {"continuous": torch.eye(8), "target": torch.arange(8).float()}
        MixUp(seed=seed).on_train_batch_start(trainer, pl.LightningModule(), batch, 0)
        return batch["target"]

    other = [0, 0, 0, 0]
    other[place] = 1

    assert torch.equal(blended(0, 0, 0, 0), blended(0, 0, 0, 0))
    assert not torch.equal(blended(0, 0, 0, 0), blended(*other))


TASKS: list[tuple[Task, Tensor, int]] = [
    (Binary(), torch.tensor([0, 1, 1, 0]), 1),
    (Multiclass(3), torch.tensor([0, 2, 1, 0]), 3),
    (Multilabel(3), torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]), 3),
]


@pytest.mark.parametrize(("task", "target", "num_logits"), TASKS, ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("weighted", [False, True])
def test_the_blended_loss_is_what_the_two_rows_losses_add_up_to(
    task: Task, target: Tensor, num_logits: int, weighted: bool
) -> None:
    logits, weight = torch.randn(4, num_logits), torch.tensor([1.0, 0.0, 3.0, 0.5])
    batch = {"continuous": torch.randn(4, 2), "target": target.clone()}
    if weighted:
        batch["weight"] = weight.clone()
    module = WithTask(task)

    MixUp(1.0).on_train_batch_start(quiet_trainer(), module, batch, 0)

    draw = np.random.default_rng((0, 0, 0, 0))
    order, drawn = draw.permutation(4), draw.beta(1, 1, 4)
    shares = torch.from_numpy(np.maximum(drawn, 1 - drawn)).float()
    own = weight if weighted else torch.ones(4)
    expected = shares * own * task.loss(logits, target) + (1 - shares) * own[order] * task.loss(logits, target[order])
    blended = task.loss(logits, batch["target"]) * batch.get("weight", torch.ones(4))
    torch.testing.assert_close(blended, expected)


def test_numbers_to_predict_are_blended_as_they_are() -> None:
    target = torch.tensor([[1.0], [3.0], [5.0]])
    batch = {"continuous": target.clone(), "target": target.clone()}
    module = WithTask(Regression(mean=(2.0,), spread=(1.0,)))

    MixUp().on_train_batch_start(quiet_trainer(), module, batch, 0)

    assert torch.equal(batch["target"], batch["continuous"])
    assert not torch.equal(batch["target"], target)


def test_rows_without_weight_keep_their_shares() -> None:
    batch = {"continuous": torch.eye(2), "target": torch.eye(2), "weight": torch.zeros(2)}

    MixUp().on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)

    assert bool(batch["target"].isfinite().all())
    assert batch["weight"].tolist() == [0, 0]


class TableRun:
    """A fit of a table of numbers, whole or resumed by a process with other random states."""

    def __init__(self, ckpt_path: Path | None = None, *, save_to: Path | None = None) -> None:
        pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)
        draw = np.random.default_rng(0)
        frame = pd.DataFrame({"x": draw.normal(size=45), "z": draw.normal(size=45), "y": draw.choice(list("abc"), 45)})
        data = TabularDataModule(frame, "y", split=RandomSplit(0.2), batch_size=12, verbose=False)
        module = TabularModule(data.schema, dropout=0.3, widths=[8, 4])
        callbacks: list[pl.Callback] = [MixUp(off_epochs=1), ExactResume()]
        trainer = quiet_trainer(
            callbacks=callbacks if save_to is None else [*callbacks, Saver(save_to)],
            enable_model_summary=False,
            max_epochs=EPOCHS,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, data, ckpt_path=ckpt_path, weights_only=True)
        self.state = module.state_dict()


@pytest.mark.parametrize(
    "steps", [[PER_EPOCH, PER_EPOCH + 1], pytest.param(range(1, EPOCHS * PER_EPOCH), marks=pytest.mark.slow)]
)
def test_a_fit_resumed_at_any_step_ends_bit_for_bit_as_the_uninterrupted_one(
    steps: Iterable[int], tmp_path: Path
) -> None:
    whole = TableRun(save_to=tmp_path)

    for step in steps:
        assert not different(whole.state, TableRun(tmp_path / f"step={step}.ckpt").state)


def test_other_draws_would_end_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = TableRun(save_to=tmp_path)
    monkeypatch.setattr("tabvision.callbacks.mixing.micro_batch_at", lambda *_: (7, 0))

    assert different(whole.state, TableRun(tmp_path / "step=2.ckpt").state)


@pytest.mark.parametrize("make", [MixUp, CutMix])
def test_images_resumed_in_the_middle_of_an_epoch_end_bit_for_bit(
    make: Callable[..., _Mixing], quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    def fit(ckpt_path: Path | None, *more: pl.Callback) -> dict[str, Tensor]:
        module = looker(Multiclass(CLASSES))
        trainer = quick_trainer(callbacks=[make(), ExactResume(), *more], max_epochs=2)
        trainer.fit(
            module, TensorLoader(image_rows(), batch_size=8, shuffle=True), ckpt_path=ckpt_path, weights_only=True
        )
        return module.state_dict()

    whole = fit(None, Saver(tmp_path))

    for step in (2, 4):
        torch.manual_seed(77)
        assert not different(whole, fit(tmp_path / f"step={step}.ckpt"))


def test_the_last_epochs_train_on_rows_as_they_are(quick_trainer: MakeTrainer) -> None:
    data = image_rows()

    seen = fitted(
        quick_trainer, MixUp(off_epochs=1), TensorLoader(data, batch_size=24), looker(Multiclass(CLASSES)), max_epochs=3
    )

    assert [torch.equal(batch["image"], data["image"]) for batch in seen] == [False, False, True]
    assert [batch["target"].ndim for batch in seen] == [2, 2, 1]


@pytest.mark.parametrize("max_epochs", [3, 9])
def test_the_final_epochs_are_those_that_max_steps_leaves(max_epochs: int, quick_trainer: MakeTrainer) -> None:
    data = image_rows()
    loader = TensorLoader(data, batch_size=24)
    limits = {"max_epochs": max_epochs, "max_steps": 3}

    seen = fitted(quick_trainer, MixUp(off_epochs=1), loader, looker(Multiclass(CLASSES)), **limits)

    assert [torch.equal(batch["image"], data["image"]) for batch in seen] == [False, False, True]


def test_a_users_own_module_gets_shares_of_the_classes_it_names(quick_trainer: MakeTrainer) -> None:
    data = image_rows()
    loader = Given([data["image"][:8], data["target"][:8]], [data["image"][8:], data["target"][8:]])

    seen = fitted(quick_trainer, CutMix(num_classes=CLASSES), loader, looker(keys=(0, 1)))

    assert [tuple(batch[1].shape) for batch in seen] == [(8, CLASSES), (16, CLASSES)]
    assert all(bool(torch.isclose(batch[1].sum(dim=1), torch.ones(1)).all()) for batch in seen)


def test_a_users_own_names_are_found_and_the_rest_of_a_row_stays_its_own(quick_trainer: MakeTrainer) -> None:
    data = image_rows()
    loader = TensorLoader({"photo": data["image"], "kind": data["target"], "place": torch.arange(ROWS)}, batch_size=8)

    seen = fitted(
        quick_trainer,
        MixUp(num_classes=CLASSES, inputs=["photo"], target="kind"),
        loader,
        looker(keys=("photo", "kind")),
    )

    assert all(torch.equal(batch["place"], batch["index"]) for batch in seen)
    assert all(batch["kind"].shape == (8, CLASSES) for batch in seen)


def test_what_the_loader_holds_is_left_alone(quick_trainer: MakeTrainer) -> None:
    batch = image_rows()

    seen = fitted(quick_trainer, MixUp(), Given(batch), looker(Multiclass(CLASSES)), max_epochs=2)

    assert torch.equal(batch["image"], image_rows()["image"])
    assert batch["target"].ndim == 1
    assert not torch.equal(seen[0]["image"], seen[1]["image"])


def test_several_labels_as_whole_numbers_become_shares() -> None:
    batch = {"image": torch.randn(2, 3, 4, 4), "target": torch.tensor([[1, 0], [0, 1]])}

    CutMix().on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)

    assert batch["target"].is_floating_point()


def test_the_target_may_come_first_in_a_list() -> None:
    batch = [torch.tensor([0, 1]), torch.randn(2, 3, 4, 4)]

    MixUp(num_classes=2, inputs=[1], target=0).on_train_batch_start(quiet_trainer(), pl.LightningModule(), batch, 0)

    assert batch[0].shape == (2, 2)
    assert batch[1].shape == (2, 3, 4, 4)


def test_a_batch_of_one_row_is_blended_with_itself() -> None:
    image = torch.randn(1, 3, 4, 4)
    batch = {"image": image.clone(), "target": torch.tensor([1])}
    module = WithTask(Multiclass(3))

    MixUp().on_train_batch_start(quiet_trainer(), module, batch, 0)

    torch.testing.assert_close(batch["image"], image)
    torch.testing.assert_close(batch["target"], torch.tensor([[0.0, 1, 0]]))


def test_a_sweep_of_rates_blends_too(quick_trainer: MakeTrainer) -> None:
    callback = CutMix(0.7, seed=4, off_epochs=2, num_classes=CLASSES)

    (kept,) = callback.for_sweep(0)

    assert isinstance(kept, CutMix)
    assert (kept.alpha, kept.seed, kept.off_epochs, kept.num_classes) == (0.7, 4, 0, CLASSES)
    finding = lr_find(
        quick_trainer(callbacks=[callback], max_epochs=5),
        looker(),
        TensorLoader(image_rows(), batch_size=8),
        num_steps=30,
    )
    assert len(finding.losses) > 10
