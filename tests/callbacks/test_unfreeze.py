"""Which layers train when: exactly as stated, to the bit, through validation, a second fit, and a resume anywhere."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn
from typing_extensions import override

from tabvision.callbacks import DiscriminativeLR, ExactResume, FineTune, OneCycle, Unfreeze
from tabvision.callbacks.unfreeze import _check_strategy
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.tuning import FindLR
from tests.made.modules import (
    STEPS,
    Epochs,
    Rates,
    UserModule,
    Validated,
    different,
    make_loader,
    make_module,
    marks,
    three_groups,
    three_lists,
    trainable,
    weights,
)
from tests.made.sweeps import slow_but
from tests.made.trainers import MakeTrainer, quiet_trainer

# a resumed fit here saves nothing, and Lightning mentions that
pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using .ckpt_path.:UserWarning")
STATISTICS = ("body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked")


@pytest.mark.parametrize(
    ("stages", "epochs", "counts"),
    [
        (0, 2, [3, 3]),
        (1, 3, [1, 3, 3]),
        (2, 3, [1, 1, 3]),
        ({0: 1, 1: 2, 3: "all"}, 4, [1, 2, 2, 3]),
        ({0: 2, 1: 99}, 2, [2, 3]),
        ({0: "all", 1: 1, 2: "all"}, 3, [3, 1, 3]),
    ],
)
def test_each_epoch_trains_the_groups_that_its_stage_says(
    stages: Any, epochs: int, counts: list[int], quick_trainer: MakeTrainer
) -> None:
    seen = Epochs()
    trainer = quick_trainer(max_epochs=epochs, callbacks=[Unfreeze(stages, groups=three_groups), seen])

    trainer.fit(make_module(), make_loader())

    assert seen.trains == marks(counts)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("groups", [three_groups, three_lists])
def test_frozen_parameters_do_not_move_by_a_bit_and_all_others_do(
    optimizer: Literal["sgd", "adamw"], groups: Any, quick_trainer: MakeTrainer
) -> None:
    seen = Epochs()  # frozen again with momentum, moments and weight decay at hand
    unfreeze = Unfreeze({0: "all", 1: 1, 2: 2, 3: "all"}, groups=groups)

    quick_trainer(max_epochs=4, callbacks=[unfreeze, seen]).fit(make_module(optimizer), make_loader())

    assert seen.moved == seen.grads == marks([3, 1, 2, 3])


class ZeroedGradients(UserModule):
    """Keeps gradients as zeros, which an optimizer with momentum or weight decay steps upon."""

    @override
    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad(set_to_none=False)


def test_frozen_again_parameters_stay_where_gradients_are_kept_as_zeros(quick_trainer: MakeTrainer) -> None:
    seen = Epochs()
    callbacks = [Unfreeze({0: "all", 1: 1}, groups=three_groups), seen]

    quick_trainer(max_epochs=2, callbacks=callbacks).fit(ZeroedGradients("sgd"), make_loader())

    assert seen.moved == seen.grads == marks([3, 1])


@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 3},
        {"callbacks": [GradientAccumulationScheduler({0: 1, 1: 2})]},
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 0.1},
        {"limit_train_batches": 2},
        {"max_epochs": -1, "max_steps": 3 * STEPS},
        {"callbacks": [OneCycle((1e-3, 1e-2), groups=three_groups)]},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_stages_hold_under_every_setting_of_the_trainer(settings: dict[str, Any], quick_trainer: MakeTrainer) -> None:
    seen = Epochs()
    callbacks = [Unfreeze({0: 1, 1: 2, 2: "all"}, groups=three_groups), seen, *settings.get("callbacks", [])]

    quick_trainer(**({"max_epochs": 3} | settings | {"callbacks": callbacks})).fit(make_module(), make_loader())

    assert seen.trains == seen.moved == seen.grads == marks([1, 2, 3])


@pytest.mark.parametrize("groups", [three_groups, three_lists])
def test_policy_eval_keeps_frozen_statistics_to_the_bit(groups: Any, quick_trainer: MakeTrainer) -> None:
    module, seen = Validated(), Epochs()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}

    quick_trainer(max_epochs=3, val_check_interval=2, callbacks=[Unfreeze(2, groups=groups), seen]).fit(
        module, make_loader(), make_loader(shuffle=False)
    )

    assert seen.buffers[0].keys() == before.keys() == set(STATISTICS)
    assert not different(before, seen.buffers[0])
    assert not different(before, seen.buffers[1])
    assert different(before, seen.buffers[2]) == list(STATISTICS)


@pytest.mark.parametrize("groups", [three_groups, three_lists])
def test_policy_train_lets_statistics_follow_and_norms_learn(groups: Any, quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}

    quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, batch_norm="train", groups=groups), seen]).fit(
        module, make_loader()
    )

    assert seen.trains == seen.moved == ["00110011", "11111111"]
    assert different(before, seen.buffers[0]) == list(STATISTICS)


def test_statistics_of_a_frozen_norm_without_weights_stay_too(quick_trainer: MakeTrainer) -> None:
    module = make_module()
    module.body[1] = nn.BatchNorm1d(6, affine=False)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}

    quick_trainer(callbacks=[Unfreeze(1, groups=three_groups)]).fit(module, make_loader())

    assert not different(before, dict(module.named_buffers()))


class BodyOutputs(pl.Callback):
    """What the body answers in the modes that training has, and in evaluation."""

    def __init__(self) -> None:
        self.outputs: list[torch.Tensor] = []

    @override
    def on_train_batch_end(self, trainer: Any, pl_module: pl.LightningModule, *args: Any) -> None:
        assert isinstance(pl_module, UserModule)
        rows = torch.arange(12.0).reshape(4, 3)
        self.outputs.append(pl_module.body(rows).detach())
        self.outputs.append(copy.deepcopy(pl_module.body).eval()(rows).detach())


def test_a_frozen_norm_means_the_same_in_training_and_in_evaluation(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), BodyOutputs()
    for name in STATISTICS[:2]:
        module.get_buffer(name).uniform_(0.5, 2.0)

    quick_trainer(callbacks=[Unfreeze(1, groups=three_groups), seen]).fit(module, make_loader())

    assert len(seen.outputs) == 2 * STEPS
    assert all(torch.equal(seen.outputs[0], output) for output in seen.outputs)


def test_every_module_is_in_training_mode_again_after_the_fit(quick_trainer: MakeTrainer) -> None:
    module = make_module()

    quick_trainer(callbacks=[Unfreeze(1, groups=three_groups)]).fit(module, make_loader())

    assert all(part.training for part in module.modules())


def test_validate_before_between_and_after_changes_nothing(quick_trainer: MakeTrainer) -> None:
    def fitted(*, validates: bool) -> tuple[dict[str, torch.Tensor], list[str], pl.Trainer]:
        torch.manual_seed(1)
        module, seen = Validated(), Epochs()
        loader, val_loader = make_loader(), make_loader(shuffle=False)
        trainer = quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen])
        for max_epochs in (2, 4):
            if validates:
                trainer.validate(module, val_loader, verbose=False)
            trainer.fit_loop.max_epochs = max_epochs
            trainer.fit(module, loader, val_loader)
        if validates:
            before = trainable(module)
            trainer.validate(module, val_loader, verbose=False)
            assert trainable(module) == before == "11111111"
        return module.state_dict(), seen.trains, trainer

    plain, plain_trains, _ = fitted(validates=False)
    validated, trains, trainer = fitted(validates=True)

    assert trains == plain_trains == marks([1, 3, 3, 3])
    assert trainer.current_epoch == 4
    assert not different(plain, validated)


def test_a_second_fit_of_the_same_trainer_goes_on_thawed(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()
    trainer = quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen])
    trainer.fit(module, make_loader())

    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, make_loader())

    assert seen.moved == marks([1, 3, 3])


def test_a_new_trainer_starts_with_the_first_stage_again_and_thaws(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()

    for _ in range(2):
        quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen]).fit(module, make_loader())

    assert seen.moved == marks([1, 3, 1, 3])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], list[str], Path]:
    """An uninterrupted fit of three stages, a checkpoint of each of its steps, and what trained at each."""
    folder = tmp_path_factory.mktemp("whole")
    saver = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    state, rates = staged_fit(folder, callbacks=[saver])
    return state, rates.trains, folder


def staged_fit(
    folder: Path, callbacks: list[pl.Callback], ckpt_path: Path | None = None
) -> tuple[dict[str, torch.Tensor], Rates]:
    rates = Rates()
    staged = [Unfreeze({0: 1, 1: 2, 2: "all"}, groups=three_groups), OneCycle((1e-3, 1e-2), groups=three_groups)]
    trainer = quiet_trainer(
        callbacks=[*staged, ExactResume(), rates, *callbacks],
        default_root_dir=folder,
        enable_checkpointing=bool(callbacks),
        max_epochs=3,
    )
    module = make_module("sgd", dropout=0.3) if ckpt_path is None else UserModule("sgd", dropout=0.3)
    trainer.fit(module, make_loader(), ckpt_path=ckpt_path, weights_only=True)
    assert trainer.global_step == 3 * STEPS
    return module.state_dict(), rates


@pytest.mark.parametrize("step", slow_but([STEPS, STEPS + 1], range(1, 3 * STEPS)))
def test_resumed_at_any_step_a_fit_has_the_right_stage_and_ends_with_the_same_bits(
    step: int, whole: tuple[dict[str, torch.Tensor], list[str], Path], tmp_path: Path
) -> None:
    state, trains, folder = whole

    resumed, rates = staged_fit(tmp_path, [], folder / f"step={step}.ckpt")

    assert rates.trains == trains[step:]
    assert not different(state, resumed)


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_checkpoint_saved_at_the_end_of_an_epoch_resumes_in_the_next_stage(epoch: int, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, every_n_epochs=1, save_on_train_epoch_end=True)
    state, rates = staged_fit(tmp_path, [saver])

    resumed, again = staged_fit(tmp_path, [], tmp_path / f"epoch={epoch}.ckpt")

    assert again.trains == rates.trains[(epoch + 1) * STEPS :]
    assert not different(state, resumed)


def test_resuming_needs_no_exact_resume_to_have_the_right_stage(quick_trainer: MakeTrainer, tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=STEPS)
    stages: list[Any] = [Unfreeze(1, groups=three_groups)]
    quick_trainer(max_epochs=2, enable_checkpointing=True, callbacks=[*stages, saver]).fit(make_module(), make_loader())
    rates, seen = Rates(), Epochs()

    trainer = quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), rates, seen])
    trainer.fit(make_module(), make_loader(), ckpt_path=tmp_path / f"step={STEPS}.ckpt", weights_only=True)

    assert rates.trains == marks([3]) * STEPS
    assert seen.moved[-1:] == marks([3])


def test_a_layer_group_that_the_user_froze_whole_is_thawed_by_its_stage(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()
    for parameter in module.body.parameters():
        parameter.requires_grad_(False)

    quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen]).fit(module, make_loader())

    assert seen.trains == marks([1, 3])


def test_thawing_tells_equal_parameters_apart(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(batch_norm=False), Epochs()
    with torch.no_grad():
        for part in (module.body[0], module.middle[0], module.head):
            part.bias.fill_(0.25)  # type: ignore[operator]
    start = weights(module)

    quick_trainer(max_epochs=2, callbacks=[Unfreeze(1, groups=three_groups), seen]).fit(module, make_loader())

    assert seen.moved == ["000011", "111111"]
    assert len(different(start, weights(module))) == 6


def test_an_unknown_policy_lists_the_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"no batch_norm named 'frozen'\. Choices: eval, keep, train"):
        Unfreeze(1, batch_norm=cast("Any", "frozen"))


def test_a_module_without_layer_groups_is_told_how_to_pass_them(quick_trainer: MakeTrainer) -> None:
    with pytest.raises(BadTypeError, match=r"UserModule has no layer_groups\(\)"):
        quick_trainer(callbacks=[Unfreeze(1)]).fit(make_module(), make_loader())


# Strategies that cannot be staged are refused with what to use; two processes show the rest, in tests/contracts.


def test_fsdp_and_deepspeed_are_refused() -> None:
    deepspeed = DeepSpeedStrategy.__new__(DeepSpeedStrategy)  # its constructor wants a package that needs a GPU
    for strategy in (FSDPStrategy(), ModelParallelStrategy(), deepspeed):
        trainer = cast("pl.Trainer", SimpleNamespace(strategy=strategy))  # neither starts on a CPU
        with pytest.raises(BadValueError, match=f'in stages under {type(strategy).__name__}, .*Use strategy="ddp"'):
            _check_strategy(trainer)


def test_a_gradient_hook_with_a_state_is_refused(quick_trainer: MakeTrainer) -> None:
    strategy = DDPStrategy(ddp_comm_state=object(), ddp_comm_hook=lambda state, bucket: (state, bucket))

    with pytest.raises(BadValueError, match="communication hook would lose its state"):
        _check_strategy(quick_trainer(strategy=strategy))


def frozen_for_good(module: UserModule) -> UserModule:
    """A module with one layer frozen in the first of its groups, and the bias of its head."""
    module.body[0].requires_grad_(False)
    module.head.bias.requires_grad_(False)
    return module


@pytest.mark.parametrize("batch_norm", ["keep", "train"])
def test_what_was_frozen_within_a_group_stays_so_through_all_stages_and_after(
    batch_norm: Any, quick_trainer: MakeTrainer
) -> None:
    seen, module = Epochs(), frozen_for_good(make_module())
    before = trainable(module)
    unfreeze = Unfreeze(1, batch_norm=batch_norm, groups=three_groups)

    for _ in range(2):
        quick_trainer(max_epochs=2, callbacks=[unfreeze, seen]).fit(module, make_loader())

        assert trainable(module) == before == "00111110"
    norms = "11" if batch_norm == "train" else "00"
    assert seen.moved == seen.trains == [f"00{norms}0010", before] * 2


def test_what_was_frozen_within_a_group_stays_so_when_a_fit_is_resumed(
    tmp_path: Path, quick_trainer: MakeTrainer
) -> None:
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    whole, resumed, seen = frozen_for_good(make_module()), frozen_for_good(make_module()), Epochs()
    callbacks = [Unfreeze(1, groups=three_groups), ExactResume()]
    quick_trainer(max_epochs=3, callbacks=[*callbacks, keep], enable_checkpointing=True).fit(whole, make_loader())

    again = quick_trainer(max_epochs=3, callbacks=[Unfreeze(1, groups=three_groups), ExactResume(), seen])
    again.fit(resumed, make_loader(), ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)

    assert seen.trains == ["00111110"] * 2
    assert different(weights(whole), weights(resumed)) == []


def test_a_group_left_out_of_the_groups_stays_frozen(quick_trainer: MakeTrainer) -> None:
    module, seen = make_module(), Epochs()
    module.body.requires_grad_(False)

    last = Unfreeze(1, groups=lambda module: three_groups(module)[1:])
    quick_trainer(max_epochs=2, callbacks=[last, seen]).fit(module, make_loader())

    assert seen.trains == ["00000011", "00001111"]
    assert trainable(module) == "00001111"


def test_a_sweep_keeps_frozen_what_was_frozen_within_a_group(quick_trainer: MakeTrainer) -> None:
    module, seen = frozen_for_good(make_module()), Epochs()
    trainer = quick_trainer(max_epochs=1, callbacks=[FindLR(num_steps=20), Unfreeze(0, groups=three_groups), seen])

    trainer.fit(module, make_loader())

    assert seen.trains == ["00111110"]


class Late(UserModule):
    """A `UserModule` whose layers are built when a Trainer asks for them."""

    def __init__(self) -> None:
        super().__init__()
        del self.body, self.middle, self.head

    @override
    def configure_model(self) -> None:
        if not hasattr(self, "head"):
            parts = make_module()
            self.body, self.middle, self.head = parts.body, parts.middle, parts.head


@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [Unfreeze(1, groups=three_groups)],
        lambda: [FineTune(1, groups=three_groups)],
        lambda: [DiscriminativeLR((1e-3, 1e-2), groups=three_groups), Unfreeze(1, groups=three_groups)],
        lambda: [DiscriminativeLR((1e-3, 1e-2), groups=three_groups)],
        lambda: [OneCycle((1e-3, 1e-2), groups=three_groups)],
    ],
)
def test_layers_built_by_configure_model_train_as_those_built_before(
    callbacks: Any, quick_trainer: MakeTrainer
) -> None:
    late, early = Late(), make_module()
    for module in (late, early):
        quick_trainer(max_epochs=2, callbacks=callbacks()).fit(module, make_loader())

    assert different(weights(early), weights(late)) == []
