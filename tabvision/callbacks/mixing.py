"""Train on rows blended with each other: MixUp and CutMix."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import MutableMapping, MutableSequence, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.augment.mix import blend_rows, box_of, fraction_outside, paste
from tabvision.callbacks.micro_batches import micro_batch_at
from tabvision.callbacks.ownership import Owner, Quantity
from tabvision.callbacks.schedule import max_epochs, num_epochs
from tabvision.checks import check_positive, check_whole
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.lightning import Callback

Key = str | int
_INPUTS = ("image", "has_image", "continuous", "categorical")  # keys of a tabvision batch


class _Mixing(Owner, ABC):
    """Blend the rows of each training batch, and their targets, before the module receives them.

    The random numbers are a function of seed, epoch, step and micro-batch (the rank, unless `ExactResume` sets those), so
    nothing is saved, and a resumed fit draws the same ones. The module's task turns targets into soft ones; for a module
    without a task, class codes become probabilities of `num_classes` classes. Row weights are blended as well, and targets
    are blended in proportion to them.

    Args as `MixUp`.
    """

    owns: frozenset[Quantity] = frozenset({"how rows are mixed"})
    blends: tuple[str, ...]  # the inputs of a tabvision batch that can be blended this way

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

    @override
    @speaking()
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if stage == "fit" and self.off_epochs and max_epochs(trainer) == math.inf:
            problem = f"off_epochs={self.off_epochs} counts from the last epoch, but the Trainer has no max_epochs"
            raise BadValueError(problem, "Pass Trainer(max_epochs=...), or leave off_epochs out")

    @override
    @speaking()
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self.off_epochs and trainer.current_epoch >= num_epochs(trainer) - self.off_epochs:
            return
        rng = np.random.default_rng((self.seed, trainer.current_epoch, *micro_batch_at(trainer, batch_idx)))
        inputs, target = self._keys(batch)
        first = batch[inputs[0]]
        order = torch.from_numpy(rng.permutation(len(first))).to(first.device)
        fractions = self.mix_inputs(batch, inputs, order, rng)
        soft = self._softened(pl_module, batch[target])
        if isinstance(batch, MutableMapping) and "weight" in batch:
            weights = batch["weight"]
            fractions = fractions.to(weights)
            batch["weight"] = blend_rows(weights, fractions, order)
            # the two targets count in proportion to their row weights
            fractions = torch.where(batch["weight"] > 0, fractions * weights / batch["weight"], fractions)
        batch[target] = blend_rows(soft, fractions, order)

    @abstractmethod
    def mix_inputs(
        self,
        batch: Any,  # noqa: ANN401 - a dict or a list
        inputs: Sequence[Key],
        order: Tensor,
        rng: np.random.Generator,
    ) -> Tensor:
        """Blend each row of the inputs with the row given by `order`; return the fraction that each row retains, (B,)."""

    def for_sweep(self, epoch: int) -> list[Callback]:  # noqa: ARG002 - the same in every epoch
        """Return the callback that blends rows in the same way in a learning-rate sweep."""
        return [
            type(self)(self.alpha, seed=self.seed, num_classes=self.num_classes, inputs=self.inputs, target=self.target)
        ]

    def _keys(self, batch: object) -> tuple[Sequence[Key], Key]:
        """Return the keys of the inputs and the target in a batch."""
        if isinstance(batch, MutableMapping):
            inputs = self.inputs or self._known_inputs(batch)
            target = "target" if self.target is None else self.target
            if missing := [key for key in (*inputs, target) if key not in batch]:
                problem = f"the batch lacks {missing}, it has {sorted(map(str, batch))}"
                raise BadValueError(problem, "Name its keys: inputs=[...], target=...")
            return inputs, target
        if isinstance(batch, MutableSequence) and len(batch) > 1 and isinstance(batch[0], Tensor):
            return self.inputs or (0,), 1 if self.target is None else self.target
        parts = ", ".join(type(part).__name__ for part in batch) if isinstance(batch, Sequence) else ""
        found = f"a {type(batch).__name__} of {parts}" if parts else type(batch).__name__
        problem = f"a batch must be a dict, or a list of input and target tensors, got {found}"
        raise BadTypeError(problem, "Let your loader's collate function return a dict")

    def _known_inputs(self, batch: MutableMapping[str, Any]) -> list[str]:
        present = [key for key in _INPUTS if key in batch and batch[key].numel()]
        unsupported = [key for key in present if key not in self.blends]
        if unsupported or not present:
            wanted = " or ".join(repr(key) for key in self.blends if key != "has_image")
            problem = f"only {wanted} can be blended, and the batch has {unsupported or sorted(map(str, batch))}"
            remedy = (
                f"Leave {type(self).__name__} out, or name the inputs to blend: inputs=[...]; the rest stays unchanged"
            )
            raise BadValueError(problem, remedy)
        return present

    def _softened(self, module: pl.LightningModule, target: Tensor) -> Tensor:
        """Return the target as floats that can be blended."""
        task: Any = getattr(module, "task", None)
        if hasattr(task, "soften"):  # it is tabvision's; another module's `task` may be a string
            softened: Tensor = task.soften(target)
            return softened
        if target.is_floating_point():
            return target
        if target.ndim > 1:
            return target.float()
        if self.num_classes is None:
            problem = "the target is class codes, and the module has no tabvision task that says how many classes"
            remedy = f"Pass {type(self).__name__}(num_classes=...); the loss then gets (B, C) class probabilities"
            raise BadValueError(problem, remedy)
        if len(target) and int(target.max()) >= self.num_classes:
            problem = f"class codes must be below num_classes={self.num_classes}, got {int(target.max())}"
            raise BadValueError(problem, "Pass the number of classes, one more than the largest code")
        return torch.nn.functional.one_hot(target.long(), self.num_classes).float()


@final
class MixUp(_Mixing):
    """Blend each row and its target with another row of the batch, for images and standardized numbers.

    Each row draws its own fraction and retains at least half of itself. Categories cannot be blended.

    Args:
        alpha: Parameter of the Beta(alpha, alpha) distribution of fractions, above 0; larger values blend more evenly.
        seed: Seed of the random numbers, together with epoch, batch and rank or micro-batch.
        off_epochs: Number of final epochs, of those that `max_epochs` and `max_steps` allow, that train on unmixed rows.
        num_classes: Number of classes, for a module without a tabvision task whose target is class codes.
        inputs: Keys of the inputs to blend, in a batch that is a dict or a list; None finds them in a tabvision batch.
        target: Key of the target; None for "target" in a dict, 1 in a list.

    Raises:
        BadTypeError: A setting or the batch has the wrong type.
        BadValueError: A setting is out of range, or the batch has parts that cannot be blended.

    Source:
        fastai 2.8 `MixUp`; Zhang et al. 2018.

    Example:
        >>> MixUp(alpha=0.2, off_epochs=1).owns
        frozenset({'how rows are mixed'})
    """

    blends = ("image", "has_image", "continuous")

    @override
    @speaking()
    def mix_inputs(self, batch: Any, inputs: Sequence[Key], order: Tensor, rng: np.random.Generator) -> Tensor:
        drawn = rng.beta(self.alpha, self.alpha, len(order))
        fractions = torch.from_numpy(np.maximum(drawn, 1 - drawn)).to(order.device, torch.float32)
        for key in inputs:
            if not batch[key].is_floating_point():
                problem = f"inputs must be floating-point numbers, and {key!r} is {batch[key].dtype}"
                raise BadTypeError(problem, "Normalize the batch in on_after_batch_transfer, or use CutMix")
            batch[key] = blend_rows(batch[key], fractions, order)
        return fractions


@final
class CutMix(_Mixing):
    """Replace a box in each image with that of another image of the batch, and blend the targets by area.

    One box is drawn per batch.

    Args:
        alpha: Parameter of the Beta(alpha, alpha) distribution of the area outside the box, above 0; 1 is uniform.
        seed: Seed of the random numbers, together with epoch, batch and rank or micro-batch.
        off_epochs: Number of final epochs, of those that `max_epochs` and `max_steps` allow, that train on unmixed rows.
        num_classes: Number of classes, for a module without a tabvision task whose target is class codes.
        inputs: Keys of the inputs to blend, in a batch that is a dict or a list; None finds them in a tabvision batch.
        target: Key of the target; None for "target" in a dict, 1 in a list.

    Raises:
        BadTypeError: A setting or the batch has the wrong type.
        BadValueError: A setting is out of range, or the batch has parts that cannot be blended.

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
    def mix_inputs(self, batch: Any, inputs: Sequence[Key], order: Tensor, rng: np.random.Generator) -> Tensor:
        lam, down, across = float(rng.beta(self.alpha, self.alpha)), float(rng.random()), float(rng.random())
        fraction = 1.0
        for key in inputs:
            if batch[key].ndim != 4:
                problem = f"inputs must be images (B, C, H, W), and {key!r} has shape {tuple(batch[key].shape)}"
                raise BadValueError(problem, "Use MixUp, or name the images: inputs=[...]")
            size = (batch[key].shape[2], batch[key].shape[3])
            box = box_of(lam, (down, across), size)
            batch[key] = paste(batch[key], box, order)
            fraction = fraction_outside(box, size)
        return torch.full((len(order),), fraction, device=order.device)
