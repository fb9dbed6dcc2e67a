"""Training on rows blended with one another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import MutableMapping, MutableSequence, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.augment.mix import blend_rows, box_of, fraction_outside, paste
from tabvision.callbacks.ownership import Quantity, check_owners
from tabvision.checks import check_positive, check_whole
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.lightning import Callback
from tabvision.tasks import Task

Key = str | int
_INPUTS = ("image", "continuous", "categorical")  # of a tabvision batch


class Mixing(Callback, ABC):
    """Blends the rows of each training batch, and their targets, before the module sees them.

    What is drawn is a function of seed, epoch, batch and rank: nothing is saved, a resumed fit draws what it would have
    drawn, and every rank draws its own. Targets become soft through the module's task; class codes of a module without
    one become shares of `num_classes`. A row's weight is blended as well, and a pair's targets count by their weights.

    Args as `MixUp`.
    """

    blends: tuple[str, ...]  # the inputs of a tabvision batch that can be blended this way

    @speaking()
    def __init__(
        self,
        alpha: float,
        *,
        seed: int = 0,
        off_epochs: int = 0,
        num_classes: int | None = None,
        inputs: Sequence[Key] | None = None,
        target: Key | None = None,
    ) -> None:
        check_positive("alpha", alpha)
        check_whole("seed", seed, 0)
        check_whole("off_epochs", off_epochs, 0)
        if num_classes is not None:
            check_whole("num_classes", num_classes, 2)
        self.alpha = alpha
        self.seed = seed
        self.off_epochs = off_epochs
        self.num_classes = num_classes
        self.inputs = inputs
        self.target = target

    @property
    def owns(self) -> frozenset[Quantity]:
        """What this callback sets."""
        return frozenset({"how rows are mixed"})

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        check_owners(trainer)
        if self.off_epochs and (trainer.max_epochs is None or trainer.max_epochs < 0):
            problem = f"off_epochs={self.off_epochs} counts from the last epoch, and the Trainer has no max_epochs"
            raise BadValueError(problem, "Pass Trainer(max_epochs=...), or leave off_epochs out")

    @override
    @speaking()
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.off_epochs and trainer.current_epoch >= (trainer.max_epochs or 0) - self.off_epochs:
            return
        draw = generator_of(self.seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        inputs, target = self._keys(batch)
        first = batch[inputs[0]]
        order = torch.from_numpy(draw.permutation(len(first))).to(first.device)
        shares = self.mix_inputs(batch, inputs, order, draw)
        soft = self._softened(pl_module, batch[target])
        if isinstance(batch, MutableMapping) and "weight" in batch:
            shares = _blend_weights(batch, shares, order)
        batch[target] = blend_rows(soft, shares, order)

    @abstractmethod
    def mix_inputs(
        self,
        batch: Any,  # noqa: ANN401 - a dict or a list
        inputs: Sequence[Key],
        order: Tensor,
        draw: np.random.Generator,
    ) -> Tensor:
        """Blends the inputs in the batch, each row with the one that `order` names; what each row keeps of itself, (B,)."""

    def for_sweep(self, epoch: int) -> list[Callback]:  # noqa: ARG002 - the same in every epoch
        """What a learning-rate sweep takes over from this callback: rows blended in the same way."""
        return [
            type(self)(self.alpha, seed=self.seed, num_classes=self.num_classes, inputs=self.inputs, target=self.target)
        ]

    def _keys(self, batch: object) -> tuple[Sequence[Key], Key]:
        """Where the inputs and the target lie in a batch."""
        if isinstance(batch, MutableMapping):
            inputs, target = self.inputs or self._known_inputs(batch), self.target or "target"
            if missing := [key for key in (*inputs, target) if key not in batch]:
                problem = f"the batch lacks {missing}, it has {sorted(map(str, batch))}"
                raise BadValueError(problem, "Name its parts: inputs=[...], target=...")
            return inputs, target
        if isinstance(batch, MutableSequence) and len(batch) > 1 and isinstance(batch[0], Tensor):
            return self.inputs or (0,), 1 if self.target is None else self.target
        parts = ", ".join(type(part).__name__ for part in batch) if isinstance(batch, Sequence) else ""
        found = f"a {type(batch).__name__} of {parts}" if parts else type(batch).__name__
        problem = f"a batch must be a dict, or a list of input and target tensors, got {found}"
        raise BadTypeError(problem, "Let your loader's collate function return a dict")

    def _known_inputs(self, batch: MutableMapping[str, Any]) -> list[str]:
        present = [key for key in _INPUTS if key in batch and batch[key].numel()]
        stay = [key for key in present if key not in self.blends]
        if stay or not present:
            wanted = " or ".join(repr(key) for key in self.blends)
            problem = f"it blends {wanted}, and the batch has {stay or sorted(map(str, batch))}"
            remedy = "Leave it out, or name what to blend, the rest of a row staying its own: inputs=[...]"
            raise BadValueError(problem, remedy)
        return present

    def _softened(self, module: pl.LightningModule, target: Tensor) -> Tensor:
        """The target as numbers that can be blended."""
        task = getattr(module, "task", None)
        if isinstance(task, Task):
            return task.soften(target)
        if target.is_floating_point():
            return target
        if target.ndim > 1:
            return target.float()
        if self.num_classes is None:
            problem = "the target is class codes, and the module has no tabvision task that says how many classes"
            raise BadValueError(
                problem, f"Pass {type(self).__name__}(num_classes=...); the loss then gets (B, C) class shares"
            )
        if len(target) and int(target.max()) >= self.num_classes:
            problem = f"num_classes is {self.num_classes}, and a target is {int(target.max())}"
            raise BadValueError(problem, "Pass the number of classes, one more than the largest code")
        return torch.nn.functional.one_hot(target.long(), self.num_classes).float()


@final
class MixUp(Mixing):
    """Trains on each row blended with another of its batch, targets likewise; pictures and standardized numbers.

    Each row draws a share of its own and keeps at least half of itself. Categories cannot be blended.

    Args:
        alpha: Of the Beta(alpha, alpha) distribution of shares, above 0; more blends more evenly.
        seed: Decides what is drawn, together with epoch, batch and rank.
        off_epochs: How many of the last epochs train on rows as they are.
        num_classes: For a module without a tabvision task whose target is class codes: how many classes there are.
        inputs: Keys of what is blended, in a batch that is a dict or a list; None finds them in a tabvision batch.
        target: Key of the target; None for "target" in a dict, 1 in a list.

    Raises:
        BadTypeError: A setting, or the batch, is of the wrong kind.
        BadValueError: A setting out of range, or a batch with parts that cannot be blended.

    Source:
        fastai 2.8 `MixUp`; Zhang et al. 2018.

    Example:
        >>> MixUp(alpha=0.2, off_epochs=1).owns
        frozenset({'how rows are mixed'})
    """

    blends = ("image", "continuous")

    @speaking()
    def __init__(
        self,
        alpha: float = 0.4,
        *,
        seed: int = 0,
        off_epochs: int = 0,
        num_classes: int | None = None,
        inputs: Sequence[Key] | None = None,
        target: Key | None = None,
    ) -> None:
        super().__init__(alpha, seed=seed, off_epochs=off_epochs, num_classes=num_classes, inputs=inputs, target=target)

    @override
    @speaking()
    def mix_inputs(self, batch: Any, inputs: Sequence[Key], order: Tensor, draw: np.random.Generator) -> Tensor:
        drawn = draw.beta(self.alpha, self.alpha, len(order))
        shares = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(order.device, torch.float32)
        for key in inputs:
            if not batch[key].is_floating_point():
                problem = f"it blends floating-point numbers, and {key!r} is {batch[key].dtype}"
                raise BadTypeError(problem, "Normalize the batch in on_after_batch_transfer, or use CutMix")
            batch[key] = blend_rows(batch[key], shares, order)
        return shares


@final
class CutMix(Mixing):
    """Trains on pictures with a box from another picture of their batch; targets are blended by area.

    One box is drawn a batch.

    Args:
        alpha: Of the Beta(alpha, alpha) distribution of the area outside the box, above 0; 1 is even.
        seed: Decides what is drawn, together with epoch, batch and rank.
        off_epochs: How many of the last epochs train on rows as they are.
        num_classes: For a module without a tabvision task whose target is class codes: how many classes there are.
        inputs: Keys of what is blended, in a batch that is a dict or a list; None finds them in a tabvision batch.
        target: Key of the target; None for "target" in a dict, 1 in a list.

    Raises:
        BadTypeError: A setting, or the batch, is of the wrong kind.
        BadValueError: A setting out of range, or a batch with parts that cannot be blended.

    Source:
        fastai 2.8 `CutMix`; Yun et al. 2019.

    Example:
        >>> CutMix().alpha
        1.0
    """

    blends = ("image",)

    @speaking()
    def __init__(
        self,
        alpha: float = 1.0,
        *,
        seed: int = 0,
        off_epochs: int = 0,
        num_classes: int | None = None,
        inputs: Sequence[Key] | None = None,
        target: Key | None = None,
    ) -> None:
        super().__init__(alpha, seed=seed, off_epochs=off_epochs, num_classes=num_classes, inputs=inputs, target=target)

    @override
    @speaking()
    def mix_inputs(self, batch: Any, inputs: Sequence[Key], order: Tensor, draw: np.random.Generator) -> Tensor:
        lam, down, across = float(draw.beta(self.alpha, self.alpha)), float(draw.random()), float(draw.random())
        share = 1.0
        for key in inputs:
            if batch[key].ndim != 4:
                problem = f"it needs pictures (B, C, H, W), and {key!r} has shape {tuple(batch[key].shape)}"
                raise BadValueError(problem, "Use MixUp, or name the pictures: inputs=[...]")
            size = (batch[key].shape[2], batch[key].shape[3])
            box = box_of(lam, (down, across), size)
            batch[key] = paste(batch[key], box, order)
            share = fraction_outside(box, size)
        return torch.full((len(order),), share, device=order.device)


def generator_of(seed: int, epoch: int, batch_idx: int, rank: int) -> np.random.Generator:
    """What is drawn for a batch: a function of these four alone.

    Example:
        >>> generator_of(0, 1, 2, 0).random() == generator_of(0, 1, 2, 0).random()
        True
    """
    return np.random.default_rng((seed, epoch, batch_idx, rank))


def _blend_weights(batch: MutableMapping[str, Any], shares: Tensor, order: Tensor) -> Tensor:
    """Blends the rows' weights in the batch; what each row's target keeps, so that a pair's targets count by weight."""
    weights = batch["weight"]
    own = shares.to(weights) * weights
    batch["weight"] = blend_rows(weights, shares, order)
    return torch.where(batch["weight"] > 0, own / batch["weight"], shares.to(weights))
