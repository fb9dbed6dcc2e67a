"""Warn about target leakage and near-duplicate labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tabvision.data.base import DataPart
from tabvision.errors import MAX_LISTED, asking
from tabvision.schema import Schema

logger = logging.getLogger("tabvision")

_EXACT = 1 - 1e-9  # correlation above which two columns of numbers count as the same
_NEARLY_ALL = 0.99  # fraction of rows that counts as nearly every row
_MIN_OTHERS = 10  # minimum number of rows without the most frequent target
_FIRST_ROWS = 1_000  # enough to rule out most columns, before all rows are compared
_ROUNDING = 1e-3  # tolerated error of a sum, as a fraction of the target's median absolute deviation
_NUM_PROBED, _NUM_PROBES = 20, 3  # rows that a sum must match before all are read; attempts with other rows
_MAX_OF_THREE, _MAX_NEAREST, _MAX_CHECKED = 100, 1_000, 5
_MOST_ROWS = 10_000  # the most rows examined to see if a column orders the target
_SOME_ROWS = 1_000  # rows that suffice to see that most columns do not
_UNLIKE_CLASSES, _UNLIKE_NUMBERS = 0.01, 0.001  # neighbors are alike up to this fraction of the difference by chance
_MAX_LABELS = 10_000  # the most values of a column to compare


def leakage_notes(schema: Schema, training: DataPart) -> list[str]:
    """Return a sentence for each column that reveals the target, or else for up to three columns that add up to it."""
    if "target" not in training.tensors:
        return []
    counts = np.unique(training.tensors["target"][training.rows].numpy(), return_counts=True)[1]
    if counts.sum() - counts.max(initial=0) < _MIN_OTHERS:  # other columns may match so few rows by chance
        return []
    notes = [
        f"{name!r} determines the target in {'every' if is_exact else 'nearly every'} training row. If it is not known when "
        f"predicting, leave it out: {asking('ignore', name)}."
        for name, is_exact in _leaking_columns(schema, training).items()
    ]
    notes = notes or [
        f"{name!r} alone nearly gives the target. If it is not known when predicting, leave it out: {asking('ignore', name)}."
        for name in _ordering_columns(schema, training)
    ]
    if notes or not (terms := _summing_columns(schema, training)):
        return notes
    total = " ".join(f"{'-' if sign < 0 else '+'} {name!r}" for sign, name in terms).removeprefix("+ ")
    names = [name for _, name in terms]
    verb = "is" if len(names) == 1 else "add up to"
    remedy = f"If not all of it is known when predicting, leave out what is not: {asking('ignore', names[0])}."
    return [f"{total} {verb} the target in nearly every training row. {remedy}"]


def _leaking_columns(schema: Schema, training: DataPart) -> dict[str, bool]:
    """Return the columns that determine the target by themselves, and whether they do so in every row."""
    tensors, rows = training
    target = tensors["target"][rows].numpy()
    if target.ndim == 1:
        same_size = {
            column.name: tensors["categorical"][rows, index].numpy()
            for index, column in enumerate(schema.categorical)
            if len(column.vocabulary) == len(schema.classes)
        }
        found = [name for name, codes in same_size.items() if _is_renaming(codes, target, least=_NEARLY_ALL)]
        return {name: _is_renaming(same_size[name], target) for name in found}
    if schema.task.is_classes or target.shape[1] > 1:
        return {}
    target = target[:, 0].astype(np.float64)

    def is_same(index: int, most: int | None) -> bool:
        """Return whether a column differs from the target only in scale and offset, in the first `most` rows or all."""
        column, wanted = tensors["continuous"][rows[:most], index].numpy().astype(np.float64), target[:most]
        return bool(column.std() > 0 and wanted.std() > 0 and abs(np.corrcoef(column, wanted)[0, 1]) > _EXACT)

    indices = [
        index for index in range(len(schema.continuous)) if len(rows) <= _FIRST_ROWS or is_same(index, _FIRST_ROWS)
    ]
    return {schema.continuous[index].name: True for index in indices if is_same(index, None)}


def _ordering_columns(schema: Schema, training: DataPart) -> list[str]:
    """Return the columns in whose order nearly all neighbors have nearly the same target, whatever the curve."""
    tensors, rows = training
    target = tensors["target"][rows].numpy()
    if target.ndim > 1 and (schema.task.is_classes or target.shape[1] > 1):
        return []
    drawn = np.random.default_rng(0).permutation(len(rows))[:_MOST_ROWS]  # so that equal values are in random order
    wanted = np.unique(target.ravel()[drawn], return_inverse=True)[1].astype(np.float64)  # by rank, against long tails
    some = DataPart(tensors, rows[torch.from_numpy(drawn)])
    most, is_class = (_UNLIKE_CLASSES, True) if target.ndim == 1 else (_UNLIKE_NUMBERS, False)
    return [
        name
        for name, values, is_category in _raw_columns(schema, some)
        if all(
            _unlikeness(values[:number], wanted[:number], is_class=is_class, within=is_category) <= least
            for number, least in ((_SOME_ROWS, 5 * most), (_MOST_ROWS, most))
        )
    ]


def _raw_columns(schema: Schema, training: DataPart) -> Iterator[tuple[str, NDArray[Any], bool]]:
    """Yield name and values of each number, date and category, and whether it is the latter.

    Numbers and dates that rise with the rows are left out: in the order of time the targets of neighbors may well be alike.
    """
    tensors, rows = training
    order = rows.argsort().numpy()
    for index, column in enumerate(schema.continuous):
        numbers = tensors["continuous"][rows, index].numpy()
        if column.part in (None, "elapsed") and (np.diff(numbers[order]) < 0).any():
            yield column.source, numbers, False
    for index, category in enumerate(schema.categorical):
        if category.part is None:
            yield category.name, tensors["categorical"][rows, index].numpy(), True


def _unlikeness(values: NDArray[Any], wanted: NDArray[np.float64], *, is_class: bool, within: bool) -> float:
    """Return how unlike the targets of neighbors in the order of values are: 0 if alike, near 1 by chance.

    Args:
        values: A column.
        wanted: The target of each row: classes, or ranks.
        is_class: Which of the two.
        within: Whether only neighbors of the same value count; then 1 if fewer than half of the rows have one.

    Example:
        >>> draw = np.random.default_rng(0).normal(size=1_000)
        >>> _unlikeness(draw, draw.argsort().argsort(), is_class=False, within=False) < 1e-4
        True
    """
    order = np.argsort(values, kind="stable")
    ordered = wanted[order]
    unlike = (ordered[1:] != ordered[:-1]) if is_class else (ordered[1:] - ordered[:-1]) ** 2
    if within:
        unlike = unlike[values[order][1:] == values[order][:-1]]
        if len(unlike) < len(values) / 2:
            return 1.0
    by_chance = 1 - float(((np.unique(wanted, return_counts=True)[1] / len(wanted)) ** 2).sum())
    by_chance = by_chance if is_class else 2 * float(wanted.var())
    return float(unlike.mean()) / by_chance if by_chance and len(unlike) else 1.0


def _summing_columns(schema: Schema, training: DataPart) -> list[tuple[int, str]]:
    """Return up to three columns, with signs, that add up to the target in nearly all rows; empty if there are none."""
    tensors, rows = training
    if schema.task.is_classes or tensors["target"].ndim == 1 or tensors["target"].shape[1] > 1:
        return []
    columns = [index for index, column in enumerate(schema.continuous) if column.part is None]
    mean, std = (
        np.array([(schema.continuous[index].mean, schema.continuous[index].std) for index in columns]).reshape(-1, 2).T
    )
    target = tensors["target"][rows, 0].numpy().astype(np.float64)
    values, counts = np.unique(target, return_counts=True)
    used = np.flatnonzero(target != values[counts.argmax()])  # if the target is mostly 0, many sums are, too
    target = target[used]
    if len(used) < _NUM_PROBED or not (scale := float(np.median(np.abs(target - np.median(target))))):
        return []

    def errors(some: NDArray[np.int64], signs: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the absolute error of each sum, (rows, sums)."""
        raw = tensors["continuous"][rows[used[some]]][:, np.array(columns)[members]].numpy()
        sums: NDArray[np.float64] = ((raw * std[members] + mean[members]) * signs).sum(axis=-1)
        return np.abs(sums - target[some, None])

    rng = np.random.default_rng(0)
    for _ in range(_NUM_PROBES):  # a probe may contain one of the few rows that do not match
        probed = rng.choice(len(used), _NUM_PROBED, replace=False)
        numbers = tensors["continuous"][rows[used[probed]]][:, columns].numpy() * std + mean
        for signs, members in _likely_sums(numbers, target[probed]):
            is_right = (errors(probed, signs, members) <= _ROUNDING * scale).all(axis=0)
            for at in np.flatnonzero(is_right)[:_MAX_CHECKED]:
                every = errors(np.arange(len(used)), signs[at : at + 1], members[at : at + 1])
                if np.mean(every <= _ROUNDING * scale) >= _NEARLY_ALL:
                    terms = zip((-signs[at]).tolist(), members[at].tolist(), strict=True)  # added columns come first
                    return [(-minus, schema.continuous[columns[member]].name) for minus, member in sorted(terms)]
    return []


def _likely_sums(
    numbers: NDArray[np.float64], target: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the signs and positions, (S, 1) to (S, 3), of the columns whose sum is closest to the target in a few rows.

    A random projection turns each column into one number, so that sorting finds a sum without trying every combination.
    Sums of three are sought only among the 100 columns that correlate most with the target.

    Shape:
        - numbers: (R, C)
        - target: (R,)

    Example:
        >>> numbers = np.random.default_rng(0).normal(size=(20, 5))
        >>> signs, members = list(_likely_sums(numbers, numbers[:, 4] - numbers[:, 1]))[1]
        >>> signs[0].tolist(), members[0].tolist()
        ([-1, 1], [1, 4])
    """
    weights = np.random.default_rng(1).normal(size=len(target))
    wanted = weights @ target
    together = np.abs((target - target.mean()) @ (numbers - numbers.mean(axis=0))) / (numbers.std(axis=0) + 1e-30)
    few = np.argsort(-together, kind="stable")[:_MAX_OF_THREE]
    for size, some in ((1, np.arange(numbers.shape[1])), (2, np.arange(numbers.shape[1])), (3, few)):
        if len(some) < size:
            return
        projected = weights @ numbers[:, some]
        terms, columns = np.concatenate([projected, -projected]), np.tile(some, 2)
        chosen = np.stack(np.triu_indices(len(terms), 1), axis=1) if size == 3 else np.arange(len(terms))[:, None]
        chosen = chosen[:, : size - 1] if size > 1 else np.empty((1, 0), dtype=np.int64)
        order = np.argsort(terms)
        needed = wanted - terms[chosen].sum(axis=1)
        after = np.searchsorted(terms[order], needed)
        last = order[np.clip(np.concatenate([after - 1, after]), 0, len(order) - 1)]
        members = np.column_stack([np.concatenate([chosen, chosen]), last])
        distance = np.abs(terms[members].sum(axis=1) - wanted)
        nearest = members[np.argsort(distance)[:_MAX_NEAREST]]
        found = columns[nearest]
        is_sum = (np.diff(np.sort(found, axis=1), axis=1) > 0).all(axis=1)  # no column occurs twice
        yield np.where(nearest < len(some), 1, -1)[is_sum], found[is_sum]


def log_similar_labels(schema: Schema) -> None:
    """Log pairs of labels that differ only in spaces or letter case, which is usually a mistake.

    Example:
        >>> from tabvision.schema import Target
        >>> from tabvision.tasks import Multiclass
        >>> target = Target(columns=("paid",), task=Multiclass(3), classes=("no", "yes", "yes "))
        >>> log_similar_labels(Schema(target=target))
        Note: 'yes' and 'yes ' of 'paid' differ only in spaces or letter case, and count as two.
    """
    columns = [(column.name, column.vocabulary) for column in schema.categorical]
    if len(schema.target.columns) == 1:
        columns.insert(0, (schema.target.columns[0], schema.classes))
    pairs = []
    for name, labels in columns:
        seen: dict[str, str] = {}
        for text in (label for label in labels[:_MAX_LABELS] if isinstance(label, str)):
            first = seen.setdefault("".join(text.split()).casefold(), text)
            if first != text:
                pairs.append((first, text, name))
                break
    for one, other, name in pairs[:MAX_LISTED]:
        logger.info(f"Note: {one!r} and {other!r} of {name!r} differ only in spaces or letter case, and count as two.")


def _is_renaming(codes: NDArray[np.integer], target: NDArray[np.integer], *, least: float = 1) -> bool:
    """Return whether codes and classes map one to one in at least a fraction of the rows of each code and class.

    Example:
        >>> _is_renaming(np.array([2, 1, 2]), np.array([0, 1, 0])), _is_renaming(np.array([2, 1, 1]), np.array([0, 1, 0]))
        (True, False)
    """
    num_classes = int(target.max()) + 1
    counts = np.bincount(codes.astype(np.int64) * num_classes + target, minlength=(int(codes.max()) + 1) * num_classes)
    occurs = counts.reshape(-1, num_classes)
    return all(bool((occurs.max(axis=axis) >= least * occurs.sum(axis=axis)).all()) for axis in (0, 1))
