"""Recommend items to a user, and find items similar to an item."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.checks import check_whole
from tabvision.errors import BadTypeError, BadValueError, TabvisionError, UnknownNameError, closest_first, speaking
from tabvision.interpret.embeddings import NUM_PAIRS, check_ratings_module, counted_labels, factor_rows
from tabvision.modules import CollabModule
from tabvision.nets.layers import evaluating
from tabvision.preprocess import encode_rows
from tabvision.preprocess.parse import family_of
from tabvision.schema import Label

if TYPE_CHECKING:
    from tabvision.batch import Batch

_BATCH_SIZE = 65_536  # items to score at once


@speaking("recommend")
def recommend(
    module: CollabModule, user: Label, k: int = 10, *, exclude_seen: bool = True, min_pairs: int = 0
) -> pd.DataFrame:
    """Return the items with the highest predictions for a user, best first.

    A user unknown to training gets the items that an average user likes best, with a warning.

    Args:
        module: A trained module.
        user: The user's id.
        k: The number of items, at least 1; fewer are returned if fewer are left.
        exclude_seen: Whether to leave out items that the user has in the data, including held-out rows.
        min_pairs: Leave out items in fewer pairs of the data than this; 0 keeps all. Weight decay keeps predictions for such
            items near the average, so they rarely rank first.

    Returns:
        The item's id under its own column name, `title` if there are titles, and `prediction` in the user's units, or
        `probability` for yes and no.

    Raises:
        BadTypeError: The module is not a CollabModule, or the value cannot be an id.
        BadValueError: `k` is below 1, `min_pairs` is below 0, or the module does not know what users have seen.
    """
    check_ratings_module(module)
    check_whole("k", k)
    check_whole("min_pairs", min_pairs, 0)
    code = _code_of(module, 0, user)
    if (exclude_seen or min_pairs) and not module.seen.shape[1]:
        problem = "the module does not know what users have seen: it was not trained with a CollabDataModule"
        raise BadValueError(problem, "Pass exclude_seen=False, and no min_pairs")
    if not code:
        message = f"recommend: user {user!r} is not in the training rows: these are the items for an average user."
        warnings.warn(message, stacklevel=2)
    scores = item_scores(module, code)
    if exclude_seen:
        scores[seen_items(module.seen, code) - 1] = -np.inf
    items = counted_labels(module, 1)
    scores[items[NUM_PAIRS].to_numpy() < min_pairs] = -np.inf
    best = _best(scores, k)
    name = "probability" if module.task.is_classes else "prediction"
    return items.drop(columns=NUM_PAIRS).iloc[best].assign(**{name: scores[best]}).reset_index(drop=True)


@speaking("similar_items")
def similar_items(module: CollabModule, item: Label, k: int = 10, *, min_pairs: int = 10) -> pd.DataFrame:
    """Return the items whose factors point in the most similar direction: the same users like them, whatever their bias.

    Args:
        module: A trained module.
        item: The item's id.
        k: The number of items, at least 1.
        min_pairs: Leave out items in fewer pairs of the data than this, since too little is known about them.

    Returns:
        The item's id under its own column name, `title` if there are titles, `num_pairs`, and `similarity`, the cosine in
        [-1, 1].

    Raises:
        BadTypeError: The module is not a CollabModule, or the value cannot be an id.
        UnknownNameError: The item is not in the training rows.
        BadValueError: `k` is below 1, or `min_pairs` is below 0.
    """
    check_ratings_module(module)
    check_whole("k", k)
    check_whole("min_pairs", min_pairs, 0)
    index = _code_of(module, 1, item) - 1
    if index < 0:
        labels = [str(label) for label in module.item.vocabulary]
        raise UnknownNameError(module.item.source, item, closest_first(str(item), labels)[:1000])
    rows = factor_rows(module, 1)
    lengths = np.linalg.norm(rows, axis=1)
    cosine = rows @ rows[index] / np.maximum(lengths * lengths[index], np.finfo(np.float32).tiny)
    items = counted_labels(module, 1)
    cosine[items[NUM_PAIRS].to_numpy() < min_pairs] = -np.inf
    cosine[index] = -np.inf
    best = _best(cosine, k)
    return items.iloc[best].assign(similarity=cosine[best]).reset_index(drop=True)


def item_scores(module: CollabModule, user_code: int) -> NDArray[np.float32]:
    """Return the prediction for every item: a number in the user's units, or the probability of yes.

    Shape:
        - returns: (V,) in the order of the item vocabulary
    """
    device = next(module.parameters()).device
    with evaluating(module), torch.inference_mode():
        items = torch.arange(1, module.item.cardinality, device=device)
        chunks = []
        for part in items.split(_BATCH_SIZE):  # type: ignore[no-untyped-call]
            batch = cast("Batch", {"categorical": torch.stack([torch.full_like(part, user_code), part], dim=1)})
            chunks.append(module.task.activate(module(batch).float())[:, -1])
    return torch.cat(chunks).cpu().numpy()


def seen_items(seen: Tensor, user_code: int) -> NDArray[np.int64]:
    """Return the codes of the items that a user is paired with.

    Example:
        >>> seen_items(torch.tensor([[1, 2, 2], [7, 3, 5]]), 2).tolist()
        [3, 5]
    """
    start, stop = torch.searchsorted(seen[0].contiguous(), torch.tensor([user_code, user_code + 1], dtype=seen.dtype))
    return seen[1, int(start) : int(stop)].long().numpy()


def _code_of(module: CollabModule, index: int, label: Label) -> int:
    """Return the code of a user (index 0) or item (index 1), 0 if unknown to training; raise if it cannot be an id."""
    columns = module.schema.categorical
    row: dict[str, object] = {column.source: None for column in columns} | {columns[index].source: label}
    problem = f"{('user', 'item')[index]} must be an id as in column {columns[index].source!r}, got {label!r}"
    remedy = f"Pass one such as {columns[index].vocabulary[0]!r}"
    kind: Any = type(label)
    if family_of(kind) is None or label != label:  # noqa: PLR0124 - only NaN differs from itself
        raise BadTypeError(problem, remedy)
    try:
        return int(encode_rows(module.schema, [row])[1][0, index])
    except TabvisionError as error:  # no id in the training rows has this type
        raise BadTypeError(problem, remedy) from error


def _best(scores: NDArray[np.floating], k: int) -> NDArray[np.intp]:
    """Return the indices of the `k` highest scores, highest first, leaving out minus infinity."""
    order = np.argsort(-scores, kind="stable")[:k]
    return np.asarray(order[np.isfinite(scores[order])])
