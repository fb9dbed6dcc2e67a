"""`SupervisedModule.grow`: extend a schema and a trained module to new rows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from tabvision.errors import BadValueError
from tabvision.modules.network import OWN
from tabvision.modules.supervised import SupervisedModule
from tabvision.modules.vision import VisionModule
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.factorization import EmbeddingDotBias
from tabvision.nets.growth import copy_factors, copy_outputs, copy_table_net
from tabvision.nets.packed import PackedNet
from tabvision.plain import Label
from tabvision.schema import Categorical, Continuous, Date, Schema, Target
from tabvision.tasks.target import MOST_GROWTHS

Module = TypeVar("Module", bound=SupervisedModule)
Column = TypeVar("Column", Continuous, Categorical, Date)
End = TypeVar("End", float, str)


def grown_module(module: Module, schema: Schema) -> Module:
    """Return a module for a network's schema merged with that of new rows, starting from the network's weights."""
    parts = [name for name in module.own_settings if module.hparams.get(name) == OWN and name != "optimizer"]
    if parts:
        problem = f"the network has {module.own_settings[parts[0]]} of your own, which cannot be extended"
        raise BadValueError(problem, "Build a new module, and copy the weights that it shares")
    known = _with_widths(module)
    merged = grown_schema(known, schema)
    settings = {
        name: value
        for name, value in module.hparams.items()
        if name not in ("schema", "optimizer") and not name.startswith("_")  # which LightningCLI adds
    }
    has_more = merged.target.grown != known.target.grown
    lr = settings["lr"]
    if has_more and isinstance(module, VisionModule) and isinstance(lr, int | float):  # rates given per group stay
        # the trained body keeps its knowledge, and the head learns new classes quickly: benchmarks/warm_start.py
        settings["lr"] = (lr / 20, lr * 5)
    stated = module.hparams["optimizer"]
    optimizer = module._optimizer if stated == OWN else stated  # noqa: SLF001 - the same class
    new = type(module)(merged, optimizer=optimizer, **settings)
    weight = next(module.parameters())
    new.to(weight.device, weight.dtype)
    _copy(module, new, has_more=has_more)
    return new


def _with_widths(module: SupervisedModule) -> Schema:
    """Return a module's schema with the current embedding widths, since the rule would change them with more codes."""
    for net in module.modules():
        if isinstance(net, PackedNet | EmbeddingMLP):
            _, spans = net.embeddings.spans()
            columns = zip(module.schema.categorical, spans, strict=True)
            widths = tuple(dataclasses.replace(column, width=len(span)) for column, span in columns)
            return dataclasses.replace(module.schema, categorical=widths)
    return module.schema


@torch.no_grad()
def _copy(known: SupervisedModule, new: SupervisedModule, *, has_more: bool) -> None:
    state = new.state_dict()
    for name, value in known.state_dict().items():
        is_extra = name.endswith("_extra_state")
        if is_extra or (name in state and isinstance(value, Tensor) and value.shape == state[name].shape):
            state[name] = value
    new.load_state_dict(state)
    for old_part, part in zip(_growing(known), _growing(new), strict=True):
        if isinstance(old_part, EmbeddingDotBias):
            copy_factors(old_part, cast("EmbeddingDotBias", part))
        elif isinstance(old_part, PackedNet | EmbeddingMLP):
            copy_table_net(old_part, cast("PackedNet | EmbeddingMLP", part), has_more=has_more)
        else:
            copy_outputs(old_part, part, has_more=has_more)


def _growing(module: SupervisedModule) -> list[nn.Module]:
    """Return the parts that grow: the networks for categories and numbers, or the last layer of one for images."""
    nets: list[nn.Module] = [
        net for net in module.modules() if isinstance(net, PackedNet | EmbeddingMLP | EmbeddingDotBias)
    ]
    head = getattr(module, "head", None)
    return nets if nets or not isinstance(head, nn.Sequential) else [head[-1]]


def grown_schema(known: Schema, new: Schema) -> Schema:
    """Return a schema that encodes known values as before, followed by new values, columns and classes.

    Statistics and bins stay those that the network was trained with. Ranges are widened, and columns may gain missing values.

    Raises:
        BadValueError: The targets differ in columns or kind, a column is a number in only one of the schemas, or the network
            has grown by new classes too often.

    Example:
        >>> from tabvision.tasks import Regression
        >>> target = Target(columns=("pay",), task=Regression())
        >>> known, new = (
        ...     Schema(target=target, categorical=(Categorical(name="job", source="job", vocabulary=jobs),))
        ...     for jobs in (("cook", "nurse"), ("baker", "nurse"))
        ... )
        >>> grown_schema(known, new).categorical[0].vocabulary
        ('cook', 'nurse', 'baker')
    """
    _check_uses(known, new)
    grown = dataclasses.replace(
        known,
        target=_grown_target(known.target, new.target),
        continuous=_grown(known.continuous, new.continuous, _grown_number),
        categorical=_grown(known.categorical, new.categorical, _grown_category),
        dates=_grown(known.dates, new.dates, _grown_date),
    )
    inputs = grown.inputs
    left_out = {it.name: it for it in (*known.left_out, *new.left_out) if it.name not in inputs}
    return dataclasses.replace(grown, left_out=tuple(left_out.values()))


def _grown(
    known: Sequence[Column], new: Sequence[Column], grow: Callable[[Column, Column], Column]
) -> tuple[Column, ...]:
    """Return the known columns, each extended by the new one of the same name, followed by the new columns."""
    by_name = {column.name: column for column in new}
    names = [column.name for column in known]
    together = [grow(column, by_name[column.name]) if column.name in by_name else column for column in known]
    return tuple(together + [column for column in new if column.name not in names])


def _grown_number(known: Continuous, new: Continuous) -> Continuous:
    low, high = _widened(known.low, new.low, min), _widened(known.high, new.high, max)
    return dataclasses.replace(known, had_missing=known.had_missing or new.had_missing, low=low, high=high)


def _grown_category(known: Categorical, new: Categorical) -> Categorical:
    titles: tuple[str, ...] = ()
    if known.titles or new.titles:  # without titles, labels stand for themselves
        of_known, of_new = (each.titles or tuple(map(str, each.vocabulary)) for each in (known, new))
        more = [title for label, title in zip(new.vocabulary, of_new, strict=True) if label not in known.vocabulary]
        titles = (*of_known, *more)
    vocabulary = _joined_labels(known.vocabulary, new.vocabulary)
    return dataclasses.replace(known, vocabulary=vocabulary, titles=titles)


def _grown_date(known: Date, new: Date) -> Date:
    first, last = _widened(known.first, new.first, min), _widened(known.last, new.last, max)
    parts = tuple(dict.fromkeys([*known.parts, *new.parts]))
    tz_aware = known.tz_aware if known.tz_aware == new.tz_aware else None
    return dataclasses.replace(known, parts=parts, first=first, last=last, tz_aware=tz_aware)


def _grown_target(known: Target, new: Target) -> Target:
    if known.columns != new.columns or known.separator != new.separator or known.task.is_classes != new.task.is_classes:
        problem = (
            f"the network predicts {known.quoted} ({known.task.name}), and the new rows {new.quoted} ({new.task.name})"
        )
        raise BadValueError(problem, "Name the same target and task as in the first fit")
    classes = _joined_labels(known.classes, new.classes)
    num_new = len(classes) - len(known.classes)
    if num_new and len(known.grown) == MOST_GROWTHS:
        problem = f"the network has learned new classes {MOST_GROWTHS} times, which is the limit"
        raise BadValueError(problem, "Train a new one on all rows")
    return dataclasses.replace(
        known,
        task=known.task.grow(new.task, len(classes)),
        classes=classes,
        grown=(*known.grown, num_new) if num_new else known.grown,
        low=tuple(map(min, known.low, new.low)),
        high=tuple(map(max, known.high, new.high)),
        num_rows=new.num_rows,
    )


def _joined_labels(known: Sequence[Label], new: Sequence[Label]) -> tuple[Label, ...]:
    """Return the known labels, followed by the new ones.

    Raises:
        BadValueError: One has texts and the other numbers, so that no label could match.
    """
    if known and new and isinstance(known[0], str) != isinstance(new[0], str):
        problem = f"the network knows labels such as {known[0]!r}, and the new rows have {new[0]!r}"
        raise BadValueError(problem, "Read the column as text or as numbers, as in the first fit")
    return tuple(dict.fromkeys(itertools.chain(known, new)))


def _widened(known: End | None, new: End | None, choose: Callable[[End, End], End]) -> End | None:
    return known if known is None or new is None else choose(known, new)


def _check_uses(known: Schema, new: Schema) -> None:
    if (known.image is None) != (new.image is None):
        raise BadValueError("only one of the network and the new rows has images", "Build the data as in the first fit")
    uses = [
        {
            **dict.fromkeys((column.source for column in schema.continuous if column.part is None), "number"),
            **dict.fromkeys((column.source for column in schema.categorical if column.part is None), "category"),
            **dict.fromkeys((date.name for date in schema.dates), "date"),
        }
        for schema in (known, new)
    ]
    for name in uses[0].keys() & uses[1].keys():
        if uses[0][name] != uses[1][name]:
            problem = f"{name!r} is a {uses[0][name]} to the network and a {uses[1][name]} in the new rows"
            raise BadValueError(problem, "Name its kind: continuous=, categorical= or dates=")
