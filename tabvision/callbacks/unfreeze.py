"""Which layers train from which epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, final, get_args

import torch
from torch import nn
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.layer_groups import Groups, layer_groups_of
from tabvision.callbacks.ownership import Quantity, check_owners
from tabvision.checks import check_choice
from tabvision.errors import BadValueError, speaking
from tabvision.lightning import Callback, DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from tabvision.nets.layer_groups import LayerGroup
from tabvision.schedules import Stages, as_stages, num_trainable

BatchNormPolicy = Literal["keep", "eval", "train"]
POLICIES = get_args(BatchNormPolicy)
CHECKPOINT_KEY = (
    "tabvision_unfreeze"  # not `state_dict`, which two of a kind may not share: two are refused in a sentence
)


@final
class Unfreeze(Callback):
    """Trains the last layer groups first, and more of them from later epochs on.

    The stage is a function of the epoch: nothing is saved, and a fit resumed at any step has the right one. Frozen layers
    keep their place in the optimizer, which skips them, weight decay included. Under DDP the model is wrapped again when the
    stage changes, so that every rank stays equal to the bit.

    Args:
        stages: For how many epochs all groups but the last are frozen; or from which epoch on how many of the last groups
            train, such as `{0: 1, 2: 2, 4: "all"}`.
        batch_norm: What BatchNorm does in layers that are frozen at first: "keep" keeps the statistics it came with, after
            the thaw too, unless it came with none; "eval" keeps them while its layer is frozen; "train" lets them follow the
            data all along and its weights learn, as fastai does.
        groups: For a module without `layer_groups()`: a function from it to its parts, input side first.

    Raises:
        BadTypeError: `stages` is neither a number nor a mapping of numbers.
        BadValueError: A stage from a negative epoch, no stage for epoch 0, or a stage without a layer.
        UnknownNameError: No such BatchNorm policy.

    Example:
        >>> [Unfreeze({0: 1, 2: "all"}).num_trainable(epoch, num_groups=3) for epoch in range(4)]
        [1, 1, 3, 3]
    """

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
        self.batch_norm = batch_norm
        self.groups = groups
        self._first_stages = self.stages  # decides which layers "keep" is for; a sweep's are those of the fit around it
        self._kept: frozenset[str] | None = None  # names of the BatchNorms that keep their statistics

    @property
    def owns(self) -> frozenset[Quantity]:
        """What this callback sets."""
        return frozenset({"which layers train"})

    def num_trainable(self, epoch: int, num_groups: int) -> int:
        """How many of the last layer groups train in an epoch."""
        return num_trainable(self.stages, epoch, num_groups)

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            check_owners(trainer)
            check_strategy(trainer)
            if self._kept is None or self._first_stages is self.stages:
                self._kept = self._with_statistics(pl_module)
            self.apply(pl_module, trainer.current_epoch)  # before DDP wraps, so that the first wrap is right already

    @override
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter(trainer, pl_module)  # resumed runs know their epoch only here, and may skip the epoch's own start

    @override
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._enter(trainer, pl_module)

    def _enter(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.apply(pl_module, trainer.current_epoch):
            wrap_again(trainer)
        names = {id(part): plain_name(name) for name, part in pl_module.named_modules()}
        for group, trains in self._parts(pl_module, trainer.current_epoch):
            for norm in norms_in(group, pl_module):
                keeps = names[id(norm)] in (self._kept or ())
                norm.train(self.batch_norm == "train" or (trains and not keeps))

    def _with_statistics(self, module: pl.LightningModule) -> frozenset[str]:
        """The BatchNorms of layers frozen at first that "keep" is for: fresh ones have no statistics to keep."""
        if self.batch_norm != "keep":
            return frozenset()
        found = layer_groups_of(module, self.groups)
        frozen = found[: len(found) - num_trainable(self._first_stages, 0, len(found))]
        norms = {id(norm) for group in frozen for norm in norms_in(group, module) if not is_fresh(norm)}
        return frozenset(plain_name(name) for name, part in module.named_modules() if id(part) in norms)

    @override
    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CHECKPOINT_KEY] = {"kept": sorted(self._kept or ())}

    @override
    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if CHECKPOINT_KEY in checkpoint:  # what was fresh when the fit began is not when it goes on
            self._kept = frozenset(checkpoint[CHECKPOINT_KEY]["kept"])

    @override
    @speaking()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for group in layer_groups_of(pl_module, self.groups):
            for norm in norms_in(group, pl_module):
                norm.train(pl_module.training)  # the module is whole again, for whatever comes next

    def for_sweep(self, epoch: int) -> list[Callback]:
        """What a learning-rate sweep takes over from this callback: layers frozen in that epoch, however long it sweeps."""
        number = next(number for start, number in reversed(self.stages) if start <= epoch)
        sweep = Unfreeze({0: number or "all"}, batch_norm=self.batch_norm, groups=self.groups)
        sweep._first_stages, sweep._kept = self._first_stages, self._kept
        return [sweep]

    def apply(self, module: pl.LightningModule, epoch: int) -> bool:
        """Freezes and thaws as the epoch asks; whether anything changed."""
        parts = self._parts(module, epoch)
        changed = [
            set_trainable(group, trains=trains, spared=norms_in(group, module) if self.batch_norm == "train" else [])
            for group, trains in parts
        ]
        return any(changed)  # a list first: every group must be set

    def _parts(self, module: pl.LightningModule, epoch: int) -> list[tuple[LayerGroup, bool]]:
        """Each layer group with whether it trains in an epoch."""
        found = layer_groups_of(module, self.groups)
        first = len(found) - self.num_trainable(epoch, len(found))
        return [(group, place >= first) for place, group in enumerate(found)]


def set_trainable(group: LayerGroup, *, trains: bool, spared: Sequence[nn.Module] = ()) -> bool:
    """Freezes or thaws a layer group, but for the modules that are spared; whether a parameter changed."""
    learns_on = {id(parameter) for norm in spared for parameter in norm.parameters()}
    changed = False
    for parameter in group:
        wanted = trains or id(parameter) in learns_on
        changed |= parameter.requires_grad != wanted
        parameter.requires_grad_(wanted)
        if not wanted:
            parameter.grad = None  # the optimizer skips it, decay included
    return changed


def norms_in(group: LayerGroup, module: nn.Module) -> list[nn.Module]:
    """The BatchNorms of a layer group, which may be a list of a module's parameters."""
    kind = nn.modules.batchnorm._BatchNorm  # noqa: SLF001 - torch has no public name for "any BatchNorm"
    held = {id(parameter) for parameter in group}
    parts = [part for module in group.modules for part in module.modules()]
    owners = [part for part in module.modules() if held & {id(own) for own in part.parameters(recurse=False)}]
    return list(dict.fromkeys(part for part in (*parts, *owners) if isinstance(part, kind)))


def is_fresh(norm: nn.Module) -> bool:
    """Whether a BatchNorm has no statistics: none are tracked, or they are those it was made with.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> _ = norm(torch.rand(4, 2))
        >>> is_fresh(nn.BatchNorm1d(2)), is_fresh(norm)
        (True, False)
    """
    mean, variance = getattr(norm, "running_mean", None), getattr(norm, "running_var", None)
    if not isinstance(mean, torch.Tensor) or not isinstance(variance, torch.Tensor):
        return True
    return bool((mean == 0).all() and (variance == 1).all())


def plain_name(name: str) -> str:
    """A module's name without what `torch.compile` puts into it.

    Example:
        >>> plain_name("net._orig_mod.norm")
        'net.norm'
    """
    return name.replace("_orig_mod.", "")


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuses what cannot be staged.

    Raises:
        BadValueError: DeepSpeed, FSDP, model parallelism, or a gradient hook with a state of its own.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        problem = (
            f"layers cannot be thawed in stages under {type(strategy).__name__}, which shards what trains at the start"
        )
        raise BadValueError(problem, 'Use strategy="ddp", or train every layer from the start')
    if isinstance(strategy, DDPStrategy) and getattr(strategy, "_ddp_comm_state", None) is not None:
        problem = "a DDP communication hook with a state would lose it when layers thaw"
        raise BadValueError(problem, "Leave the hook out, or use one without a state")


def wrap_again(trainer: pl.Trainer) -> None:
    """Wraps the model again under DDP; other strategies need nothing."""
    strategy = trainer.strategy
    if not isinstance(strategy, DDPStrategy) or strategy.model is strategy.lightning_module:
        return
    strategy.model = strategy.lightning_module
    strategy._pl_static_graph_delay_done = False  # noqa: SLF001 - as when the strategy first wrapped; a test guards it
    strategy.configure_ddp()
