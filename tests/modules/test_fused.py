"""Rows of columns and images: missing images, frozen bodies, dropped parts, and what each part learns."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.callbacks import ExactResume, FineTune, FitTable, FrozenFeatures, MixUp, Unfreeze
from tabvision.data import FusedDataModule
from tabvision.errors import BadValueError
from tabvision.lightning import ModelCheckpoint
from tabvision.modules import FusedModule, TabularModule
from tests.made.drawn import SIDE
from tests.made.modules import Rates, different
from tests.made.pairs import Pair, fused_data, fused_file_data, image_data, tabular_data
from tests.made.trainers import MakeTrainer

SMALL = Pair(FusedModule, "regression")


def small(schema: Any, **settings: Any) -> Any:
    return SMALL.module(schema, **settings)


def batch_of(data: Any) -> Any:
    return next(iter(data.train_dataloader()))


def test_what_is_in_place_of_a_missing_image_changes_no_answer() -> None:
    data = SMALL.data()
    module, batch = small(data.schema).eval(), batch_of(data)
    noise = torch.randint(256, batch["image"].shape, dtype=torch.uint8)
    is_absent = batch["has_image"][:, :, None, None, None] == 0

    with torch.no_grad():
        answers = module(batch)
        other = module({**batch, "image": torch.where(is_absent, noise, batch["image"])})

    assert is_absent.any()
    assert torch.equal(answers, other)


def test_a_batch_without_any_image_trains_and_is_answered() -> None:
    data = SMALL.data()
    module, batch = small(data.schema), batch_of(data)
    none = {**batch, "has_image": torch.zeros_like(batch["has_image"])}

    module(none).sum().backward()  # every parameter takes part in a training step, as DDP expects

    assert all(parameter.grad is not None for parameter in module.body.parameters())
    assert not any(bool(parameter.grad.any()) for parameter in module.body.parameters())
    with torch.no_grad():
        assert module.eval()(none).isfinite().all()


def test_each_image_takes_its_own_place() -> None:
    data = SMALL.data()
    module, batch = small(data.schema).eval(), batch_of(data)
    everywhere = {**batch, "has_image": torch.ones_like(batch["has_image"])}
    swapped = {**everywhere, "image": batch["image"].flip(1)}

    with torch.no_grad():
        features, other = module.features(everywhere), module.features(swapped)

    torch.testing.assert_close(other, features.flip(1))


def test_fine_tune_freezes_the_body_while_the_new_layers_learn_at_one_rate(quick_trainer: MakeTrainer) -> None:
    data = fused_data("regression")
    module, rates = small(data.schema), Rates()
    quick_trainer(max_epochs=2, callbacks=[FineTune(1, base_lr=1e-2, lr_mult=100.0), rates]).fit(module, data)

    groups = {group.name: {id(parameter) for parameter in group} for group in module.layer_groups()}
    is_new = [id(parameter) in groups["images"] | groups["table"] | groups["head"] for parameter in module.parameters()]
    assert rates.trains[0] == "".join(str(int(new)) for new in is_new)
    assert set(rates.trains[-1]) == {"1"}
    named = dict.fromkeys(group["name"].split("/")[0] for group in module.trainer.optimizers[0].param_groups)
    last = dict(zip(named, sorted({*rates.lr[-1]}), strict=False))
    assert list(named) == ["early", "late", "images", "table", "head"]
    assert len(last) == 3, "the new layers train at one rate"
    assert max(last.values()) / min(last.values()) == pytest.approx(100)


def test_named_stages_are_taken_as_they_are(quick_trainer: MakeTrainer) -> None:
    data = fused_data("regression")
    module, rates = small(data.schema), Rates()
    quick_trainer(max_epochs=2, callbacks=[Unfreeze({0: 1, 1: 2}), rates]).fit(module, data)

    trained = [sum(map(int, flags)) for flags in (rates.trains[0], rates.trains[-1])]
    sizes = {group.name: len(group) for group in module.layer_groups()}
    assert trained == [sizes["head"], sizes["head"] + sizes["table"]]


def test_dropped_parts_leave_each_part_to_answer_alone() -> None:
    data = fused_data("regression")
    torch.manual_seed(0)
    module = small(data.schema, part_dropout=0.4)
    batch = batch_of(data)
    seen = [module.member_logits(batch).detach() for _ in range(20)]

    assert torch.stack(seen).std(0).max() > 0
    with torch.no_grad():
        assert torch.equal(module.eval()(batch), module(batch))


def test_a_row_with_a_fold_is_answered_by_the_head_that_left_it_out() -> None:
    data = fused_data("regression")
    module, batch = small(data.schema, own_inputs=True).eval(), batch_of(data)
    first, second = ({**batch, "fold": torch.full_like(batch["index"], fold)} for fold in (0, 1))

    with torch.no_grad():
        module.images.weight[1] = torch.nan

        assert module.answer_logits(first).isfinite().all()
        assert module.answer_logits(second).isnan().all()


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_the_fit_of_a_table_keeps_the_body_scores_rows_left_out_and_resumes_to_the_bit(
    tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    rows = SMALL.raw(tmp_path)

    def fitted(ckpt_path: Path | None = None) -> tuple[Any, Any, Any]:
        data = fused_file_data("regression", rows)
        torch.manual_seed(0)
        module, keeper = small(data.schema, own_inputs=True), FitTable()
        saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
        callbacks = [Unfreeze({0: 2}), FrozenFeatures(), keeper, ExactResume(), saver]
        trainer = quick_trainer(max_epochs=4, callbacks=callbacks, enable_checkpointing=True)
        trainer.fit(module, data, ckpt_path=ckpt_path)
        (measured,) = trainer.validate(module, data.fold_loader(), verbose=False)
        assert measured["val/loss"] == pytest.approx(keeper.best_score, rel=1e-4)
        return module, keeper, data

    torch.manual_seed(0)
    body = small(fused_file_data("regression", rows).schema, own_inputs=True).body.state_dict()
    whole, _, data = fitted()
    resumed, _, _ = fitted(tmp_path / "epoch=1.ckpt")

    assert whole.images.weight.any()
    assert not different(body, whole.body.state_dict())
    assert not different(whole.state_dict(), resumed.state_dict())
    assert "fold" not in data.parts["train"].tensors


def test_rows_are_not_left_out_while_the_body_learns_from_them(tmp_path: Path, quick_trainer: MakeTrainer) -> None:
    data = fused_file_data("regression", SMALL.raw(tmp_path))
    for stages, expected in (({0: 2}, True), ({0: 2, 1: "all"}, False)):
        keeper = FitTable()
        module = small(data.schema, own_inputs=True)
        quick_trainer(max_epochs=2, callbacks=[Unfreeze(stages), keeper]).fit(module, data)  # type: ignore[arg-type]
        assert keeper.has_folds is expected


class Blended(pl.Callback):
    """What `MixUp`, which stands before this in the list, made of the marks of missing images."""

    def __init__(self) -> None:
        self.has_image: list[Tensor] = []

    @override
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.has_image.append(batch["has_image"].clone())


def test_mixup_blends_images_and_numbers(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    raw = SMALL.raw(tmp_path)[["x", "file", "back", "pay"]]
    data = FusedDataModule(raw, "pay", image=["file", "back"], size=SIDE, num_workers=1, verbose=False)
    seen = Blended()

    quick_trainer(callbacks=[MixUp(), seen]).fit(small(data.schema), data)

    assert any(bool(((batch > 0) & (batch < 1)).any()) for batch in seen.has_image)


def test_a_schema_of_a_table_or_of_images_alone_is_refused() -> None:
    with pytest.raises(BadValueError, match="no image"):
        FusedModule(tabular_data("regression").schema, body="test_resnet", weights=None)
    with pytest.raises(BadValueError, match="images alone"):
        FusedModule(image_data("regression").schema, body="test_resnet", weights=None)


@pytest.mark.parametrize(
    "wrong", [{"part_dropout": 0.5}, {"image_width": 0}, {"num_groups": 3}, {"num_groups": 99}, {"image_dropout": 1.0}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadValueError):
        small(fused_data("regression").schema, **wrong)


def test_a_table_module_does_not_take_rows_with_images(quick_trainer: MakeTrainer) -> None:
    data = fused_data("regression")
    module = TabularModule(tabular_data("regression").schema)

    with pytest.raises(BadValueError, match="image"):
        quick_trainer().fit(module, data)
