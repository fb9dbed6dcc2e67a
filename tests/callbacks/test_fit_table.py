"""The fit of a table: what it keeps, when it stops, what each member has seen, and that resuming changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from tabvision.callbacks import AverageAndStop, ExactResume, FitTable, InverseDecay, MixUp, OneCycle
from tabvision.callbacks.average_and_stop import save_kept_weights
from tabvision.callbacks.schedule import RunLength
from tabvision.data import GroupSplit, RandomSplit, TabularDataModule, TimeSplit
from tabvision.errors import BadValueError
from tabvision.inference import Predictor
from tabvision.modules import TabularModule
from tests.callbacks.test_exact_resume import Log, SaverOfEnds
from tests.made.modules import Rates, UserModule, different, make_loader
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer, quiet_trainer

EPOCHS, PER_EPOCH = 4, 5


def made_data(split: Any = None, rows: int = 60, **settings: Any) -> TabularDataModule:
    draw = np.random.default_rng(0)
    x, job = draw.normal(size=rows), draw.choice(list("abc"), rows)
    frame = pd.DataFrame({"x": x, "job": job, "y": np.sin(2 * x) + (job == "a") + draw.normal(size=rows) / 4})
    return TabularDataModule(frame, "y", **{"split": split, "batch_size": 12, "verbose": False} | settings)


class Run:
    """A fit that averages and scores, whole or resumed."""

    def __init__(
        self, ckpt_path: Path | None = None, *, save_to: Path | None = None, split: Any = None, **settings: Any
    ) -> None:
        pl.seed_everything(1 if ckpt_path is None else 99, verbose=False)  # a process that resumes has its own state
        data = made_data(split)
        self.module = TabularModule(data.schema, members=3, member_widths=[8, 4], dropout=0.2)
        log, self.fit = Log(), FitTable(min_patience=EPOCHS)
        callbacks: list[pl.Callback] = [self.fit, ExactResume()]
        self.trainer = quiet_trainer(
            callbacks=callbacks if save_to is None else [*callbacks, SaverOfEnds(save_to)],
            **{"log_every_n_steps": 1, "logger": log, "max_epochs": EPOCHS, "num_sanity_val_steps": 0} | settings,
        )
        self.trainer.fit(self.module, data, ckpt_path=ckpt_path, weights_only=True)
        self.state = {name: value.clone() for name, value in self.module.state_dict().items()}
        self.logged = log.steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The uninterrupted fit on folds, and where it saved a checkpoint after each step."""
    folder = tmp_path_factory.mktemp("whole")
    return Run(save_to=folder), folder


@pytest.fixture(scope="module")
def validated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The same with validation rows."""
    folder = tmp_path_factory.mktemp("validated")
    return Run(save_to=folder, split=RandomSplit(0.2)), folder


@pytest.mark.parametrize("step", slow_but([PER_EPOCH, PER_EPOCH + 2], range(1, EPOCHS * PER_EPOCH + 1, 2)))
def test_resumed_from_every_step_it_ends_as_the_uninterrupted_fit(step: int, whole: tuple[Run, Path]) -> None:
    uninterrupted, folder = whole

    resumed = Run(folder / f"step={step}.ckpt")

    assert not different(uninterrupted.state, resumed.state)
    assert resumed.fit.best_score == uninterrupted.fit.best_score
    assert resumed.logged[-1] == uninterrupted.logged[-1]
    assert "oof/loss" in resumed.logged[-1][1]


@pytest.mark.parametrize("step", slow_but([6], range(2, EPOCHS * 4 + 1, 4)))
def test_so_it_is_with_validation_rows(step: int, validated: tuple[Run, Path]) -> None:
    uninterrupted, folder = validated

    resumed = Run(folder / f"step={step}.ckpt", split=RandomSplit(0.2))

    assert not different(uninterrupted.state, resumed.state)
    assert resumed.fit.best_score == uninterrupted.fit.best_score


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_fit_on_a_gpu_is_resumed_there(tmp_path: Path) -> None:
    data = made_data(RandomSplit(0.3))
    saved = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    settings: dict[str, Any] = {"accelerator": "gpu", "max_epochs": 3, "enable_checkpointing": True}
    quiet_trainer(callbacks=[FitTable(), saved], **settings).fit(TabularModule(data.schema, members=2), data)

    trainer = quiet_trainer(callbacks=[fit := FitTable()], **settings | {"enable_checkpointing": False})
    trainer.fit(TabularModule(data.schema, members=2), data, ckpt_path=tmp_path / "step=3.ckpt", weights_only=True)

    assert len(fit.scores) == 3


def test_after_the_fit_the_module_has_the_average_of_the_best_epoch_and_val_loss_is_its_loss(tmp_path: Path) -> None:
    pl.seed_everything(0, verbose=False)
    data = made_data(RandomSplit(0.3))
    module = TabularModule(data.schema, members=2, own_inputs=False)
    best = ModelCheckpoint(tmp_path, "best", monitor="val/loss")
    trainer = quiet_trainer(callbacks=[fit := FitTable(), best], max_epochs=30, enable_checkpointing=True)

    trainer.fit(module, data)

    assert trainer.current_epoch == 30 or trainer.should_stop
    (measured,) = trainer.validate(module, data, verbose=False)
    assert measured["val/loss"] == pytest.approx(fit.best_score, rel=1e-6)
    assert float(best.best_model_score or 0) == pytest.approx(fit.best_score, rel=1e-6)
    (again,) = trainer.validate(module, data, ckpt_path=best.best_model_path, weights_only=True, verbose=False)
    assert again == measured
    checkpoint = torch.load(best.best_model_path, weights_only=True)
    assert different(checkpoint["state_dict"], checkpoint["current_model_state"])
    assert Predictor(best.best_model_path).predict(data.frame)["prediction"].notna().all()


def test_it_stops_half_as_many_epochs_after_the_best_one() -> None:
    data = made_data(rows=40)
    trainer = quiet_trainer(callbacks=[fit := FitTable(min_patience=4)], max_epochs=400)

    trainer.fit(TabularModule(data.schema), data)

    ended = trainer.current_epoch - 1
    assert ended < 399
    assert ended - fit.best_epoch == max(4, -(-(fit.best_epoch + 1) // 2))


@pytest.mark.slow
def test_it_does_not_stop_before_a_hundred_batches_without_gain() -> None:
    data = made_data(rows=40)
    trainer = quiet_trainer(callbacks=[fit := FitTable(patience=0.0)], max_epochs=400)

    trainer.fit(TabularModule(data.schema), data)

    ended = trainer.current_epoch - 1
    assert ended < 399
    assert ended - fit.best_epoch == -(-100 // len(data.train_dataloader()))


def test_a_second_fit_starts_from_the_best_weights_and_counts_anew() -> None:
    data = made_data()
    module = TabularModule(data.schema, members=2)
    quiet_trainer(callbacks=[FitTable()], max_epochs=3).fit(module, data)
    first = {name: value.clone() for name, value in module.state_dict().items()}
    seen: list[dict[str, Any]] = []

    class Start(pl.Callback):
        def on_train_start(self, _trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            seen.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    trainer = quiet_trainer(callbacks=[fit := FitTable(), Start()], max_epochs=1)
    trainer.fit(module, data)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, data)

    assert not different(first, seen[0])
    assert fit.best_epoch == 1  # the only epoch of the last fit, not the best of all


def test_a_member_learns_nothing_from_its_fold() -> None:
    data = made_data()
    module = TabularModule(data.schema, members=4, member_widths=[8], unknown_share=0.0)
    data.use_folds(4)
    batch = next(iter(data.train_dataloader()))
    changed: Any = {**batch, "target": torch.where(batch["fold"][:, None] == 2, 1e3, batch["target"])}

    gradients = []
    for each in (batch, changed):
        module.zero_grad()
        torch.autograd.backward(module._mean_loss(each, module.member_logits(each), "train"))
        gradients.append([parameter.grad.clone() for parameter in module.net.head.parameters()])  # type: ignore[union-attr]

    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one[2], other[2])
        assert not torch.equal(one[1], other[1])


def test_the_score_is_the_loss_of_the_member_that_left_a_row_out() -> None:
    data = made_data()
    module = TabularModule(data.schema, members=4, member_widths=[8])
    trainer = quiet_trainer(callbacks=[fit := FitTable()], max_epochs=2)

    trainer.fit(module, data)

    (measured,) = trainer.validate(module, data.fold_loader(), verbose=False)
    assert measured["val/loss"] == pytest.approx(fit.best_score, rel=1e-5)
    module.eval()
    batch = next(iter(data.fold_loader()))
    by_hand = module.member_logits(batch)[torch.arange(len(batch["fold"])), batch["fold"]]
    assert module.task.loss(by_hand, batch["target"]).mean().item() == pytest.approx(fit.best_score, rel=1e-5)


def test_a_leaking_column_is_of_no_use_to_the_score() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"r{n}" for n in range(400)], "x": draw.normal(size=400), "y": draw.normal(size=400)})
    data = TabularDataModule(frame, "y", categorical=["id"], split=None, batch_size=32, verbose=False)
    trainer = quiet_trainer(callbacks=[fit := FitTable()], max_epochs=30)

    trainer.fit(TabularModule(data.schema), data)

    assert fit.best_score > 0.95  # pure noise: a leak between members would look like a gain


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_folds_are_stratified_and_groups_stay_whole(task: str) -> None:
    frame = pd.DataFrame({"x": np.arange(120.0), "who": [f"p{n // 6}" for n in range(120)]})
    frame["y"] = ["no", "no", "yes"] * 40 if task == "binary" else np.random.default_rng(0).normal(size=120)

    data = TabularDataModule(frame, "y", split=None, verbose=False)
    data.use_folds(8)
    folds = data.parts["train"].tensors["fold"].numpy()
    sizes = np.bincount(folds, minlength=8)
    assert sizes.max() - sizes.min() <= 1
    if task == "binary":
        assert set(np.bincount(folds[(frame["y"] == "yes").to_numpy()], minlength=8)) <= {5, 6}

    grouped = TabularDataModule(frame, "y", split=GroupSplit("who", 0.2), verbose=False)
    grouped.use_folds(8)
    tensors, rows = grouped.parts["train"]
    of_person = pd.Series(tensors["fold"][rows].numpy()).groupby(
        frame["who"].iloc[tensors["index"][rows].numpy()].array
    )
    assert (of_person.nunique() == 1).all()
    assert (tensors["fold"][grouped.parts["val"].rows] == -1).all()


def test_rows_in_order_of_time_have_no_folds() -> None:
    frame = pd.DataFrame(
        {"x": np.arange(60.0) % 7, "day": pd.date_range("2024-01-01", periods=60), "y": np.arange(60.0)}
    )
    data = TabularDataModule(frame, "y", split=TimeSplit("day", 0.2), batch_size=16, verbose=False)
    trainer = quiet_trainer(callbacks=[fit := FitTable()], max_epochs=2)

    trainer.fit(TabularModule(data.schema), data)

    assert not fit.has_folds
    assert fit.best_score == pytest.approx(float(trainer.callback_metrics["val/loss"]), rel=1e-6) or fit.best_epoch == 0


def test_the_rate_needs_no_horizon(quick_trainer: MakeTrainer) -> None:
    rates = Rates()
    trainer = quick_trainer(max_epochs=-1, max_steps=30, callbacks=[InverseDecay(half=10, power=1.0, warmup=5), rates])

    trainer.fit(UserModule(), make_loader())

    (first, *_), (tenth, *_), (twentieth, *_) = (rates.lr[step] for step in (0, 10, 20))
    assert first == pytest.approx(tenth * 2 / 5)
    assert twentieth == pytest.approx(tenth * 2 / 3)


def test_a_fixed_budget_ends_with_the_average_of_its_last_steps() -> None:
    data = made_data()
    module = TabularModule(data.schema, members=2)
    states: list[dict[str, torch.Tensor]] = []

    class EachStep(pl.Callback):
        def on_train_batch_end(self, _trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
            states.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    trainer = quiet_trainer(callbacks=[OneCycle(), AverageAndStop(patience=None), EachStep()], max_epochs=6)
    trainer.fit(module, data)

    assert trainer.current_epoch == 6
    average = states[0]["net.head.weight"].clone()
    for step, state in enumerate(states, start=1):
        average = torch.lerp(average, state["net.head.weight"], min(1.0, 10 / (step + 9)))
    torch.testing.assert_close(module.state_dict()["net.head.weight"], average)


@pytest.mark.parametrize("weights_only", [False, True])
def test_checkpoints_hold_the_average_with_and_without_the_state_of_the_optimizer(
    weights_only: bool, tmp_path: Path
) -> None:
    data = made_data()
    module = TabularModule(data.schema, members=2)
    saver = ModelCheckpoint(tmp_path, "each", save_weights_only=weights_only, save_on_train_epoch_end=True)
    settings: dict[str, Any] = {"enable_checkpointing": True, "max_epochs": 3}
    trainer = quiet_trainer(callbacks=[OneCycle(), AverageAndStop(patience=None), saver], **settings)

    trainer.fit(module, data)

    saved = torch.load(tmp_path / "each.ckpt", weights_only=True)
    assert ("optimizer_states" in saved) != weights_only
    for name, value in module.state_dict().items():  # the fit ends with the last average
        torch.testing.assert_close(saved["state_dict"][name], value)
    assert "lightning_module_state_dict" not in vars(trainer.strategy)


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_a_fit_resumed_after_it_had_stopped_stays_so(tmp_path: Path) -> None:
    data, found = made_data(split=0.3), []
    for path in (None, tmp_path / "last.ckpt"):
        module = TabularModule(data.schema, members=2)
        last = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
        callbacks = [FitTable(min_patience=1, patience=0.0), ExactResume(), last]
        trainer = quiet_trainer(callbacks=callbacks, enable_checkpointing=True, max_epochs=90)
        trainer.fit(module, data, ckpt_path=path, weights_only=None if path is None else True)
        found.append((trainer.current_epoch, module.state_dict()))

    (epochs, first), (again, second) = found
    assert epochs == again < 90
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_it_serves_any_module(quick_trainer: MakeTrainer) -> None:
    module = UserModule()

    quick_trainer(max_epochs=2, callbacks=[FitTable()]).fit(module, make_loader())

    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_the_rate_falls_as_asked() -> None:
    fit = FitTable(half=50.0, power=2.0, warmup=0)

    assert fit.setting(50, RunLength(1), number=0, num_groups=1).factor == 0.25


def test_two_owners_of_the_rate_are_refused(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadValueError, match="the rate over time"):
        quick_trainer(callbacks=[FitTable(), OneCycle()]).fit(UserModule(), make_loader())


def test_classes_are_answered_at_the_temperature_that_is_best_on_held_out_rows(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=300)
    frame = pd.DataFrame({"x": x, "y": np.where(x + draw.normal(size=300) / 9 > 0, "yes", "no")})
    data = TabularDataModule(frame, "y", split=None, batch_size=32, verbose=False)
    best = ModelCheckpoint(tmp_path, "best", monitor="oof/loss")
    trainer = quiet_trainer(callbacks=[fit := FitTable(), best], max_epochs=5, enable_checkpointing=True)
    module = TabularModule(data.schema)

    trainer.fit(module, data)
    save_kept_weights(trainer)

    (measured,) = trainer.validate(module, data.fold_loader(), verbose=False)
    assert measured["val/loss"] <= fit.best_score + 1e-6
    logits = torch.cat([module.eval().answer_logits(batch) for batch in data.fold_loader()]).detach()
    target = torch.cat([batch["target"] for batch in data.fold_loader()])
    for temperature in (0.95, 0.9):  # it might be surer
        assert module.task.loss(logits / temperature, target).mean() > measured["val/loss"] - 1e-4
    saved = torch.load(best.best_model_path, weights_only=True)["state_dict"]
    assert not different(saved, module.state_dict())


def test_after_a_fit_on_folds_another_network_learns_and_answers_from_the_same_data() -> None:
    data = made_data()
    quiet_trainer(callbacks=[FitTable()], max_epochs=2).fit(TabularModule(data.schema, members=2), data)

    other = TabularModule(data.schema, net="mlp")
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(other, data)
    (measured,) = trainer.validate(other, data.train_dataloader(), verbose=False)

    assert np.isfinite(measured["val/loss"])
    assert "fold" not in next(iter(data.train_dataloader()))


class Interrupt(pl.Callback):
    """Stops a fit in the middle of its second epoch."""

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("stopped")


def test_validate_after_an_interrupted_fit_measures_the_weights_as_they_are() -> None:
    data = made_data(RandomSplit(0.3))
    module = TabularModule(data.schema, members=2)
    trainer = quiet_trainer(callbacks=[FitTable(), Interrupt()], max_epochs=3)
    with pytest.raises(RuntimeError, match="stopped"):
        trainer.fit(module, data)

    (measured,) = trainer.validate(module, data, verbose=False)

    (alone,) = quiet_trainer().validate(module, data, verbose=False)
    assert measured == alone


def test_mixed_rows_are_no_members_fold() -> None:
    data = made_data(RandomSplit(0.3), categorical=[], ignore=["job"])
    trainer = quiet_trainer(callbacks=[fit := FitTable(), MixUp()], max_epochs=2)

    trainer.fit(TabularModule(data.schema, members=2), data)

    assert not fit.has_folds
    assert fit.best_score < float("inf")


def test_a_fit_without_held_out_rows_says_that_it_ran_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    data = made_data()

    quiet_trainer(callbacks=[FitTable()], max_epochs=2).fit(TabularModule(data.schema, net="mlp"), data)

    assert "FitTable: no rows were held out, so the fit ran to its end. Pass validation rows." in caplog.messages


def test_of_several_validation_loaders_the_first_is_the_score() -> None:
    data = made_data(split=0.2)
    data.setup("fit")
    fits = [FitTable(folds=False), FitTable(folds=False)]

    for fit, loaders in zip(fits, [1, 2], strict=True):
        torch.manual_seed(0)
        module = TabularModule(data.schema, net="mlp")
        quiet_trainer(callbacks=[fit], max_epochs=2).fit(
            module, data.train_dataloader(), [data.val_dataloader(), data.train_dataloader()][:loaders]
        )

    assert fits[0].scores == fits[1].scores != []


@pytest.mark.parametrize(
    ("last", "sentence"), [(69.0, "the loss on held-out rows jumped from 0.14 to 69 in epoch 3"), (1.7, "")]
)
def test_a_score_that_leaps_is_a_warning(last: float, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    fit, module = FitTable(), TabularModule(made_data().schema)
    trainer = quiet_trainer(max_epochs=3, callbacks=[fit])
    scores = iter([0.9, 0.14, last])
    fit._score = lambda *_: next(scores)  # type: ignore[method-assign]
    trainer.fit(module, made_data())

    assert sentence in caplog.text
    assert ("jumped" in caplog.text) == bool(sentence)


def test_a_barebones_trainer_is_not_logged_to() -> None:
    """It would warn at every log, and warnings are errors here."""
    data, fit = made_data(), FitTable()

    pl.Trainer(barebones=True, accelerator="cpu", max_epochs=1, callbacks=[fit]).fit(TabularModule(data.schema), data)

    assert fit.best_epoch == 0


class SaveIn(pl.Callback):
    """Saves a checkpoint in the given hook of the first epoch, and the loss that is measured then."""

    def __init__(self, hook: str, path: Path) -> None:
        self.path, self.measured = path, 0.0
        setattr(self, hook, self._save)

    def _save(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self.measured = float(trainer.callback_metrics["val/loss"])


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("hook", ["on_validation_batch_end", "on_validation_epoch_end"])
def test_a_checkpoint_saved_in_a_validation_has_the_weights_that_it_measures(
    hook: str, is_first: bool, tmp_path: Path
) -> None:
    data = made_data(RandomSplit(0.3))
    save, fit = SaveIn(hook, tmp_path / "saved.ckpt"), FitTable(folds=False)
    trainer = quiet_trainer(
        callbacks=[save, fit] if is_first else [fit, save], max_epochs=2, num_sanity_val_steps=0, log_every_n_steps=1
    )
    trainer.fit(TabularModule(data.schema, members=2), data)

    module = TabularModule.load_from_checkpoint(save.path)

    (measured,) = quiet_trainer().validate(module, data, verbose=False)
    assert measured["val/loss"] == pytest.approx(save.measured)
    saved = torch.load(save.path, weights_only=True)
    assert different(saved["state_dict"], saved["current_model_state"])
