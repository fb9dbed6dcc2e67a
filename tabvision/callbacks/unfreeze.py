"""Freeze layer groups and unfreeze them by epoch."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any, Literal, get_args

from torch import nn
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import (
    Groups,
    check_optimizers,
    checked_groups,
    frozen_parts,
    layer_groups_of,
    norms_in,
    set_trainable,
)
from tabvision.callbacks.ownership import Owner, Quantity
from tabvision.callbacks.schedule import max_epochs
from tabvision.checks import check_choice, is_integer
from tabvision.errors import BadValueError, count, speaking
from tabvision.lightning import (
    Callback,
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    callbacks_of,
)
from tabvision.nets.layer_groups import LayerGroup, num_new
from tabvision.nets.layers import PRETRAINED_NORMS, norms_with_statistics, restore_pretrained_norms
from tabvision.nets.weights import plain_name
from tabvision.schedules import Stages, as_stages, num_trainable

BatchNormPolicy = Literal["keep", "eval", "train"]
POLICIES = get_args(BatchNormPolicy)
_logger = logging.getLogger("tabvision")


class Unfreeze(Owner):
    """Train the last layer groups first, and unfreeze more of them in later epochs.

    The stage is a function of the epoch, so nothing is saved, and a fit resumed at any step has the right one. Frozen layers
    are in evaluation mode, without dropout and stochastic depth. They stay in the optimizer, which skips them and does not
    decay them. They count as trainable while `configure_optimizers` runs, so that an optimizer filtered by `requires_grad`
    holds them too. The module's own scheduler is left alone. With DDP the model is wrapped again when the stage changes, so
    that all ranks stay bitwise equal. After the fit every layer is trainable. A parameter that was frozen before the fit
    stays frozen if others in its layer group train; a group that was frozen as a whole is unfrozen by its stage. To keep it
    frozen, leave it out of the groups.

    Args:
        stages: The number of epochs in which only new groups train (the last one, and those before it marked as new), or how
            many of the last groups train from each epoch on, such as `{0: 1, 2: 2, 4: "all"}`.
        batch_norm: What BatchNorm does outside the last group: "keep" keeps the statistics that it had before the module's
            first fit, if any, whether or not its layer is frozen; "eval" keeps them while the layer is frozen; "train"
            always updates statistics and weights, as fastai does.
        groups: For a module without `layer_groups()`: a function from the module to its parts, input side first.

    Raises:
        BadTypeError: `stages` is neither a number nor a mapping of numbers.
        BadValueError: A stage has a negative epoch, epoch 0 has no stage, or a stage has no layers. When a fit starts: two
            callbacks freeze layers, or layer groups and optimizers do not hold the same parameters.
        UnknownNameError: The BatchNorm policy does not exist.

    Example:
        >>> [Unfreeze({0: 1, 2: "all"}).num_trainable(epoch, num_groups=3) for epoch in range(4)]
        [1, 1, 3, 3]
    """

    owns: frozenset[Quantity] = frozenset({"which layers train"})

    @speaking()
    def __init__(
        self,
        stages: int | Mapping[int, int | Literal["all"]] = 1,
        *,
        batch_norm: BatchNormPolicy = "keep",
        groups: Groups | None = None,
    ) -> None:
        check_choice("batch_norm", batch_norm, POLICIES)
        self.stages: Stages = as_stages(stages)
        self._has_new = is_integer(stages)  # the first stage trains all new groups
        self.batch_norm = batch_norm
        self.groups = checked_groups(groups)
        self._is_sweep = False  # whether it serves a sweep, inside the fit of another Unfreeze
        self._resting: list[nn.Module] = []  # parts in evaluation mode while they are frozen
        self._frozen: frozenset[str] | None = None  # names of the parameters that stay frozen
        self._started = False  # True from a fit's setup to its end

    def num_trainable(self, epoch: int, num_groups: int) -> int:
        """Return how many of the last layer groups train in an epoch."""
        return num_trainable(self.stages, epoch, num_groups)

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            _check_strategy(trainer)
            pl_module.configure_model()  # Lightning does this only later, and requires that it may be called twice
            vars(pl_module).setdefault(PRETRAINED_NORMS, norms_with_statistics(pl_module))
            if self._frozen is None or not self._is_sweep:
                self._frozen = self._frozen_within_groups(pl_module)
            self.apply(pl_module, trainer.current_epoch)  # before DDP first wraps the model
            self._started = True
            _configure_with_all_layers(pl_module, self.groups)

    @override
    @speaking()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_optimizers(trainer.optimizers, layer_groups_of(pl_module, self.groups), pl_module)

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if max_epochs(trainer) <= self.stages[-1][0]:
            self._warn_of_unreached(trainer, f"max_epochs={trainer.max_epochs} ends")
        # a resumed fit knows its epoch only now, and may skip on_train_epoch_start
        self._enter_stage(trainer, pl_module)

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter_stage(trainer, pl_module)

    def _enter_stage(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        changed, strategy = self.apply(pl_module, trainer.current_epoch), trainer.strategy
        # DDP has to wrap the model again
        if changed and isinstance(strategy, DDPStrategy) and strategy.model is not pl_module:
            strategy.model = pl_module
            strategy._pl_static_graph_delay_done = False  # noqa: SLF001 - as before the first wrap; a test guards it
            strategy.configure_ddp()
        self._set_modes(pl_module, trainer.current_epoch)

    def _set_modes(self, module: pl.LightningModule, epoch: int) -> None:
        """Put frozen parts, such as dropout and stochastic depth, into evaluation mode, and each BatchNorm by the policy."""
        self._wake()
        parts = self._parts(module, epoch)
        frozen = frozen_parts(module, [group for group, trains in parts if not trains])
        self._resting = [part for part in frozen if part.training]
        for part in self._resting:
            part.training = False
        names = {id(part): plain_name(name) for name, part in module.named_modules()}
        pretrained = vars(module)[PRETRAINED_NORMS] if self.batch_norm == "keep" else ()
        for number, (group, trains) in enumerate(parts):
            for norm in norms_in(group, module):
                kept = number < len(parts) - 1 and names[id(norm)] in pretrained
                norm.train(self.batch_norm == "train" or (trains and not kept))

    def _wake(self) -> None:
        """Put the parts that were frozen back into training mode."""
        for part in self._resting:
            part.training = True
        self._resting = []

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[PRETRAINED_NORMS] = {"kept": sorted(vars(pl_module).get(PRETRAINED_NORMS, ()))}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        restore_pretrained_norms(pl_module, checkpoint)

    @override
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch <= self.stages[-1][0] < max_epochs(trainer):
            self._warn_of_unreached(trainer, f"the fit ended after {count(trainer.current_epoch, 'epoch')},")

    def _warn_of_unreached(self, trainer: pl.Trainer, reason: str) -> None:
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by Lightning's connector
            start = self.stages[-1][0]
            _logger.warning(f"Unfreeze: {reason} before epoch {start}, so the stage that starts there has no effect.")

    @override
    def _release(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self._started:
            return
        self._started = False
        self._wake()
        frozen, self._frozen = self._frozen_before(module), None
        for group in layer_groups_of(module, self.groups):
            set_trainable(group, trains=True, frozen=frozen)
            for norm in norms_in(group, module):
                norm.train(module.training)

    def for_sweep(self, epoch: int) -> list[Callback]:
        """Return the callback that keeps an epoch's frozen layers frozen throughout a learning-rate sweep."""
        number = next(number for start, number in reversed(self.stages) if start <= epoch)
        sweep = Unfreeze({0: number or "all"}, batch_norm=self.batch_norm, groups=self.groups)
        sweep._has_new = self._has_new
        sweep._is_sweep, sweep._frozen = True, self._frozen
        return [sweep]

    def apply(self, module: pl.LightningModule, epoch: int) -> bool:
        """Freeze and unfreeze the layer groups for an epoch; return whether anything changed."""
        parts, frozen = self._parts(module, epoch), self._frozen_before(module)
        changed = [
            set_trainable(
                group,
                trains=trains,
                exempt=norms_in(group, module) if self.batch_norm == "train" else [],
                frozen=frozen,
            )
            for group, trains in parts
        ]
        return any(changed)  # `changed` is a list, so that every group has been set

    def _frozen_within_groups(self, module: pl.LightningModule) -> frozenset[str]:
        """Return the names of frozen parameters in layer groups that also have trainable ones."""
        groups = layer_groups_of(module, self.groups)
        parts = [group for group in groups if any(parameter.requires_grad for parameter in group)]
        frozen = {id(parameter) for parameter in itertools.chain(*parts) if not parameter.requires_grad}
        return frozenset(plain_name(name) for name, parameter in module.named_parameters() if id(parameter) in frozen)

    def _frozen_before(self, module: pl.LightningModule) -> set[int]:
        """Return the ids of the parameters that stay frozen because they were before the fit."""
        names = self._frozen or ()
        return {id(parameter) for name, parameter in module.named_parameters() if plain_name(name) in names}

    def num_trained(self, epoch: int, groups: Sequence[LayerGroup]) -> int:
        """Return how many of the last layer groups train in an epoch."""
        return max(num_trainable(self.stages, epoch, len(groups)), num_new(groups) if self._has_new else 0)

    def _parts(self, module: pl.LightningModule, epoch: int) -> list[tuple[LayerGroup, bool]]:
        """Return each layer group and whether it trains in an epoch."""
        found = layer_groups_of(module, self.groups)
        first = len(found) - self.num_trained(epoch, found)
        return [(group, number >= first) for number, group in enumerate(found)]


def unfreeze_of(trainer: pl.Trainer) -> Unfreeze | None:
    """Return the callback that decides which layers train, if there is one."""
    return next(iter(callbacks_of(trainer, Unfreeze)), None)


def _configure_with_all_layers(module: pl.LightningModule, groups: Groups | None) -> None:
    """Make all layers trainable while the module creates its optimizers, which may filter by `requires_grad`."""
    own = vars(module).get("configure_optimizers")  # LightningCLI sets it on the object

    def configure_once(module: pl.LightningModule) -> Any:  # noqa: ANN401 - what the module's own returns
        del vars(module)["configure_optimizers"]
        if own is not None:
            vars(module)["configure_optimizers"] = own
        parameters = itertools.chain(*layer_groups_of(module, groups))
        frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        try:
            for parameter in frozen:
                parameter.requires_grad_(True)
            return module.configure_optimizers()
        finally:
            for parameter in frozen:
                parameter.requires_grad_(False)

    vars(module)["configure_optimizers"] = MethodType(configure_once, module)  # bound anew in a copy of the module


def _check_strategy(trainer: pl.Trainer) -> None:
    """Raise if the strategy cannot train in stages."""
    strategy = trainer.strategy
    if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        name = type(strategy).__name__
        problem = f"layers cannot be unfrozen in stages under {name}, which shards only those that train at first"
        raise BadValueError(problem, 'Use strategy="ddp", or train all layers from the start')
    if isinstance(strategy, DDPStrategy) and getattr(strategy, "_ddp_comm_state", None) is not None:
        problem = "a DDP communication hook would lose its state when layers are unfrozen"
        raise BadValueError(problem, "Leave it out, or use one without state")
