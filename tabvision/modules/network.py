"""The base class of all networks that read batches: a network with its schema and task, without Lightning."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast, get_args

import torch
from torch import Tensor, nn
from typing_extensions import override

from tabvision.batch import Batch
from tabvision.checks import check_choice, check_fraction, check_least
from tabvision.errors import BadValueError, speaking
from tabvision.modules.optimizers import Decay, OptimizerFactory, check_optimizer
from tabvision.nets.layer_groups import LayerGroup
from tabvision.nets.weights import named_for, plain_name
from tabvision.plain import to_plain
from tabvision.schedules import Rates, check_rates
from tabvision.schema import Schema, SchemaSource, schema_of

CHECKPOINT_FORMAT = 1
CHECKPOINT_KEY = "tabvision"  # a checkpoint's key for its format and the version that wrote it
OWN = "own"  # saved in place of a user's own function or network, which is not plain data


class SchemaNetwork(nn.Module, ABC):
    """A network with a schema, from batches to logits.

    A module combines such a network with `SupervisedModule`, which trains it. `Predictor` loads the network alone.

    Args:
        schema: The schema of the data; None in a LightningModule, which sets it and the settings itself.
        decay_norms: A training setting that the network does not need.
        saved: Settings of a subclass that the network reads.
        settings: The other training settings, which are checked.

    Attributes:
        hparams: The settings by name.
        other_data: The remedy, for error messages, if the data's schema differs from the checkpoint's.
        own_settings: The settings that may be a user's own function or network, with their names in error messages. A
            checkpoint does not hold these: pass them again, as in `load_from_checkpoint(path, optimizer=...)`.
    """

    own_settings: ClassVar[Mapping[str, str]] = {"optimizer": "an optimizer function"}
    other_data: ClassVar[str] = (
        "For further columns or classes call grow(data.schema); for other ones build a new module from data.schema"
    )
    hparams: Any
    _optimizer: str | OptimizerFactory

    def __init__(
        self,
        schema: SchemaSource | None = None,
        *,
        decay_norms: bool = False,  # noqa: ARG002
        saved: Mapping[str, object] | None = None,
        **settings: Any,  # noqa: ANN401 - as for `_set_up`
    ) -> None:
        super().__init__()
        if schema is not None:
            self._set_up(schema, **settings)
            self.hparams = {name: to_plain(value) for name, value in (saved or {}).items()}

    def _set_up(
        self,
        schema: SchemaSource,
        *,
        lr: Rates,
        optimizer: str | OptimizerFactory,
        weight_decay: float,
        decay: Decay,
        momentum: float,
    ) -> None:
        """Check the training settings, then set the schema and the task."""
        with speaking(type(self).__name__):
            if optimizer != OWN:  # OWN comes from a checkpoint, and only training needs the function itself
                check_optimizer(optimizer)
            check_least("weight_decay", to_plain(weight_decay), 0, remedy="Pass 0 for none")
            check_choice("decay", decay, get_args(Decay))
            check_fraction("momentum", to_plain(momentum), remedy="Pass a fraction such as 0.9")
            check_rates(cast("Rates", to_plain(lr)))
        self.schema = schema_of(schema)
        self.task = self.schema.task

    def member_logits(self, batch: Batch) -> Tensor:
        """Return the logits of each member, (B, k, num_outputs) float, for the training loss; k is 1 for a single network."""
        return self(batch).unsqueeze(1)  # type: ignore[no-any-return]  # torch does not say what a call returns

    def answer_logits(self, batch: Batch) -> Tensor:
        """Return the logits to evaluate, (B, num_outputs); with folds, those of the member that did not train on the row."""
        if not isinstance(batch, dict) or "fold" not in batch:
            return self(batch)
        return self.combine_members(self.member_logits(batch), batch["fold"])

    def combine_members(self, logits: Tensor, fold: Tensor | None = None) -> Tensor:
        """Return the members' combined logits, (B, num_outputs); with folds, only of members that did not train on the row.

        Shape:
            - logits: (B, k, num_outputs) float
            - fold: (B,) int64; (B, bag) if one member in each network of a bag did not train on the row
        """
        if fold is not None:
            return logits[torch.arange(len(logits), device=logits.device), fold]
        return logits.squeeze(1) if logits.shape[1] == 1 else self.task.combine(logits)

    def for_inference(self) -> SchemaNetwork:
        """Return the network itself, or a faster one whose answers are the same up to rounding."""
        return self

    def needed(self, batch: Batch, key: str) -> Tensor:
        """Return a tensor of a batch, checking for it since a user's own loader may leave it out.

        Raises:
            BadValueError: The batch has no such tensor, or is not a dict.
        """
        if isinstance(batch, dict) and key in batch:
            found: Tensor = batch[key]  # type: ignore[literal-required]  # checked above
            return found
        got = ", ".join(map(repr, batch)) if isinstance(batch, dict) else type(batch).__name__
        remedy = (
            "Add it, with width 0 if the table has no such columns; tabvision.batch.Batch lists the keys and shapes"
        )
        raise BadValueError(type(self).__name__, f"a batch must be a dict with {key!r}, got {got}", remedy)

    def _check_schema(self, schema: Schema, problem: str) -> None:
        """Raise unless a schema equals the network's; it may leave the image's statistics to the pretrained weights."""
        if image := self.schema.image:
            schema = schema.with_statistics(image.mean, image.std)
        if schema != self.schema:
            problem = f"{problem}; what differs: {_difference(schema, self.schema)}"
            remedy = "Pass schema=module.schema to the datamodule if columns and classes are the same"
            raise BadValueError(problem, f"{remedy}. {self.other_data}")

    @abstractmethod
    def layer_groups(self) -> list[LayerGroup]:
        """Return the network's parts, input side first and head last, with every parameter exactly once."""

    @classmethod
    def not_held(cls, setting: str) -> BadValueError:
        """Return the error that asks for a user's own object, which a checkpoint cannot hold."""
        what = cls.own_settings.get(setting, f"{setting}=")
        problem = f"the module was trained with {what} of your own, which no checkpoint holds"
        predictor = "" if setting == "optimizer" else f", Predictor(path, {setting}=...)"
        return BadValueError(problem, f"Pass it again: load_from_checkpoint(path, {setting}=...){predictor}")

    @override
    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]  # torch has overloads
        """Return the weights by name, without the prefixes that `torch.compile` inserts."""
        state: dict[str, Any] = super().state_dict(*args, **kwargs)
        for name in [name for name in state if name != plain_name(name)]:
            state[plain_name(name)] = state.pop(name)
        return state

    @override
    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights by name, whether or not parts are compiled or were when saved."""
        return super().load_state_dict(named_for(self, state_dict), *args, **kwargs)


def _difference(one: Schema, other: Schema) -> str:
    """Return the first column or fact in which two schemas differ."""
    facts, others = one.to_dict(), other.to_dict()
    for part in facts | others:
        columns, theirs = facts.get(part, []), others.get(part, [])
        if columns != theirs:
            if part in ("images", "target"):
                return part.removesuffix("s")
            names = (repr(column["name"]) for column, their in zip(columns, theirs, strict=False) if column != their)
            return f"{part} {next(names, f'({len(columns)} columns against {len(theirs)})')}"
    return "nothing that is saved"


def with_defaults(
    schema: SchemaSource, unused_with: str | None, given: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return settings with their defaults filled in, or None for each if they have no effect.

    Args:
        schema: As passed to the module. A schema in format 1 comes from a checkpoint that holds every setting, used or not;
            settings without effect are then dropped.
        unused_with: The choice that leaves them without effect, such as "kind='dot'"; None if they have an effect.
        given: The settings by name, as passed, and None for those that were not; it may contain others.
        defaults: The default of each setting.

    Raises:
        BadValueError: A setting that has no effect was given.
    """
    if unused_with is None:
        return {name: default if given[name] is None else given[name] for name, default in defaults.items()}
    is_format_1 = isinstance(schema, dict) and schema.get("format") == 1
    for name in defaults:
        if given[name] is not None and not is_format_1:
            raise BadValueError(f"{name} has no effect with {unused_with}, got {given[name]!r}", f"Leave {name} out")
    return dict.fromkeys(defaults)
