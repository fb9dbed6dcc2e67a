"""CollabModule: what it learns, what it keeps of the pairs it saw, what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from typing_extensions import override

from tabvision.callbacks import OneCycle
from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.modules import CollabModule
from tabvision.modules.collab_network import sorted_pairs
from tests.made.ratings import made_ratings, ratings_data
from tests.made.trainers import MakeTrainer


@pytest.mark.parametrize(
    "settings",
    [{"factors": 4, "lr": 0.05}, {"kind": "neural", "lr": 0.02}, {"factors": 4, "lr": 0.05, "rowwise": True}],
)
def test_ratings_that_hang_on_taste_and_worth_are_learned(settings: dict[str, Any], quick_trainer: MakeTrainer) -> None:
    data = ratings_data()
    trainer = quick_trainer(max_epochs=20, callbacks=[OneCycle()])

    trainer.fit(CollabModule(data.schema, **settings), data)

    assert trainer.callback_metrics["val/rmse"] < 0.8 * data.baseline()["val/rmse"]


def test_answers_stay_within_the_range(quick_trainer: MakeTrainer) -> None:
    data = ratings_data(y_range=(1.0, 5.0))
    module = CollabModule(data.schema, factors=4, lr=1.0)
    trainer = quick_trainer(max_epochs=3)
    trainer.fit(module, data)

    outputs: Any = trainer.predict(module, data)

    answers = torch.cat([output["predictions"] for output in outputs])
    assert ((answers >= 1) & (answers <= 5)).all()


def test_before_training_the_answer_to_an_unseen_pair_is_the_mean_rating() -> None:
    schema = ratings_data(y_range=(1.0, 30.0)).schema
    mean = schema.target.task.to_dict()["mean"][0]

    module = CollabModule(schema).eval()

    unseen = module.task.activate(module({"categorical": torch.zeros(1, 2, dtype=torch.long)}))
    assert unseen.item() == pytest.approx(mean, rel=1e-3)


def test_factors_and_biases_decay_and_the_offset_does_not() -> None:
    module = CollabModule(ratings_data().schema)

    groups = module.configure_optimizers().param_groups

    assert [(group["name"], group["weight_decay"]) for group in groups] == [
        ("embeddings", 0.1),
        ("offset/no_decay", 0.0),
    ]


def test_the_neural_variant_has_embeddings_layers_and_a_head() -> None:
    module = CollabModule(ratings_data().schema, kind="neural")

    assert [group.name for group in module.layer_groups()] == ["embeddings", "layers", "head"]


def test_pairs_of_training_and_validation_are_kept_in_the_checkpoint(
    quick_trainer: MakeTrainer, tmp_path: Path
) -> None:
    data = ratings_data()
    module = CollabModule(data.schema, factors=4)
    trainer = quick_trainer()
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")

    loaded = CollabModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True)

    ids = np.array(module.user.vocabulary)[loaded.seen[0] - 1], np.array(module.item.vocabulary)[loaded.seen[1] - 1]
    frame = made_ratings().sort_values(["who", "film"])
    assert loaded.seen.dtype == torch.int32
    assert ids[0].tolist() == frame["who"].tolist()
    assert ids[1].tolist() == frame["film"].tolist()


def test_pairs_of_an_earlier_fit_stay(quick_trainer: MakeTrainer) -> None:
    frame = made_ratings()
    data = ratings_data(frame)
    module = CollabModule(data.schema, factors=4)
    quick_trainer().fit(module, data)
    before = module.seen.shape[1]

    quick_trainer().fit(module, ratings_data(frame.head(100), schema=module.schema))

    assert module.seen.shape[1] == before == len(frame)


def test_loaders_without_a_datamodule_train_and_leave_no_pairs(quick_trainer: MakeTrainer) -> None:
    data = ratings_data()
    module = CollabModule(data.schema, factors=4)

    quick_trainer().fit(module, data.train_dataloader(), data.val_dataloader())

    assert module.seen.shape == (2, 0)


class Pairs(pl.Callback):
    """The pairs of each training batch."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    @override
    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, *args: Any) -> None:
        self.seen.append(batch["categorical"].clone())


def test_overfitting_draws_the_same_pairs_in_every_epoch_and_warns_of_nothing(quick_trainer: MakeTrainer) -> None:
    data, pairs = ratings_data(rating=None), Pairs()

    trainer = quick_trainer(overfit_batches=1, max_epochs=2, callbacks=[pairs])
    trainer.fit(CollabModule(data.schema, factors=4), data)  # a warning is an error here

    assert torch.equal(*pairs.seen)


def test_pairs_are_sorted_by_user_and_item_and_each_is_kept_once() -> None:
    pairs = torch.tensor([[3, 1, 3, 1], [1, 9, 1, 2]], dtype=torch.int32)

    assert sorted_pairs(pairs).tolist() == [[1, 1, 3], [2, 9, 1]]
    assert sorted_pairs(pairs[:, :0]).shape == (2, 0)


def test_unseen_users_and_items_are_answered_as_the_average_one(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = ratings_data()
    module = CollabModule(data.schema, factors=4, lr=0.05)
    trainer = quick_trainer(max_epochs=5)
    trainer.fit(module, data)
    trainer.save_checkpoint(tmp_path / "module.ckpt")

    pairs = pd.DataFrame({"who": [-1, -1, 100], "film": [1, -1, -1]})
    first, both, last = Predictor(tmp_path / "module.ckpt", device="cpu").predict(pairs)["prediction"]

    assert len({round(first, 4), round(both, 4), round(last, 4)}) == 3
    assert both == pytest.approx(made_ratings()["stars"].mean(), abs=0.5)


def test_resumed_training_equals_uninterrupted_training(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    states = []
    for stops in ([4], [2, 4]):
        torch.manual_seed(0)
        data, path = ratings_data(rating=None), None
        module = CollabModule(data.schema, factors=4)
        for stop in stops:
            trainer = quick_trainer(max_epochs=stop)
            trainer.fit(module, data, ckpt_path=path, weights_only=True if path else None)
            path = tmp_path / "stop.ckpt"
            trainer.save_checkpoint(path)
        states.append(module.state_dict())

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_schema_of_a_table_is_refused() -> None:
    frame = pd.DataFrame({"x": [0.5, 1.5] * 8, "job": ["a", "b"] * 8, "pay": np.arange(16.0)})
    schema = TabularDataModule(frame, "pay", verbose=False).schema

    with pytest.raises(BadValueError, match="must have two categories, user and item, got 1 categories and 1 numbers"):
        CollabModule(schema)


def test_a_target_of_several_classes_is_refused() -> None:
    frame = pd.DataFrame({"who": ["a", "b"] * 9, "job": ["a", "b", "c"] * 6, "kind": ["x", "y", "z"] * 6})
    schema = TabularDataModule(frame, "kind", verbose=False).schema

    with pytest.raises(BadValueError, match="must be one number or a yes-or-no answer, got multiclass with 3 outputs"):
        CollabModule(schema)


def test_an_unknown_kind_is_refused() -> None:
    kind: Any = "neuronal"

    with pytest.raises(UnknownNameError, match=r"no kind named 'neuronal'\. Choices: neural, dot"):
        CollabModule(ratings_data().schema, kind=kind)


@pytest.mark.parametrize("setting", [{"widths": [8]}, {"unknown_share": 0.0}, {"dropout": 0.5}])
def test_a_setting_of_the_other_kind_is_refused_and_dropped_from_format_1(setting: dict[str, Any]) -> None:
    schema = ratings_data().schema
    (name,) = setting

    with pytest.raises(
        BadValueError, match=f"CollabModule: {name} has no effect with kind='dot', got .*Leave {name} out"
    ):
        CollabModule(schema, **setting)

    assert CollabModule(schema.to_dict() | {"format": 1}, **setting).hparams[name] is None
    assert CollabModule(schema, kind="neural", **setting).hparams[name] == setting[name]


def test_pairs_that_are_none_are_refused() -> None:
    module = CollabModule(ratings_data().schema, factors=4)

    with pytest.raises(BadTypeError, match=r"must be a tensor \(2, P\)"):
        module.load_state_dict({**module.state_dict(), "_extra_state": torch.zeros(3)})


def test_row_by_row_a_step_moves_only_the_batchs_users_and_items(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    data = ratings_data(batch_size=4)
    module = CollabModule(data.schema, factors=3, rowwise=True)
    net: Any = module.net
    before = net.users.weight.detach().clone()
    trainer = quick_trainer(max_steps=1, limit_val_batches=0)

    trainer.fit(module, data)

    moved = (net.users.weight != before).any(dim=1)
    assert 1 <= moved.sum() <= 4
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    loaded = CollabModule.load_from_checkpoint(tmp_path / "module.ckpt", weights_only=True)
    assert type(loaded.configure_optimizers()).__name__ == "RowAdamW"


def test_row_by_row_gradients_are_clipped_by_norm(quick_trainer: MakeTrainer) -> None:
    data = ratings_data(batch_size=4)
    module = CollabModule(data.schema, factors=3, rowwise=True, lr=1e-2)

    quick_trainer(max_steps=1, limit_val_batches=0, gradient_clip_val=1e-3).fit(module, data)

    norms = [it.grad.to_dense().norm() for it in module.parameters() if it.grad is not None]
    assert torch.stack(norms).norm().item() == pytest.approx(1e-3, rel=0.02)
