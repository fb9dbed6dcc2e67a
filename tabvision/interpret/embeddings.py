"""Return embeddings as frames with the user's own labels: factors, biases and principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from tabvision.checks import check_choice, is_integer
from tabvision.errors import BadTypeError, BadValueError, listed, speaking
from tabvision.modules import CollabModule, SupervisedModule, TabularModule
from tabvision.nets.embedding_mlp import EmbeddingMLP
from tabvision.nets.factorization import EmbeddingDotBias
from tabvision.nets.packed import PackedNet
from tabvision.schema import Categorical

_TITLE = "title"
NUM_PAIRS = "num_pairs"
_FACTOR = "factor_"
_AXIS = "axis_"
_PASS_FACTORS = "Pass what item_factors, user_factors or embedding_frame gave"


@speaking("item_bias")
def item_bias(module: CollabModule) -> pd.DataFrame:
    """Return the bias of each item, highest first: how well it is liked, regardless of the user's taste.

    Args:
        module: A trained module of kind "dot".

    Returns:
        The item's id under its own column name, `title` if there are titles, `bias`, and `num_pairs`, the number of pairs
        in the data with this item. Weight decay keeps the bias of an item with few pairs near 0.

    Raises:
        BadValueError: The module is of another kind.
    """
    return _biases(module, 1)


@speaking("user_bias")
def user_bias(module: CollabModule) -> pd.DataFrame:
    """Return the bias of each user, highest first: how generously they rate, regardless of the item; see `item_bias`."""
    return _biases(module, 0)


@speaking("item_factors")
def item_factors(module: CollabModule) -> pd.DataFrame:
    """Return the latent factors of each item, in the order of the vocabulary.

    Returns:
        The item's id under its own column name, `title` if there are titles, `num_pairs`, then `factor_1` and so on.
    """
    return _factors(module, 1)


@speaking("user_factors")
def user_factors(module: CollabModule) -> pd.DataFrame:
    """Return the latent factors of each user, in the order of the vocabulary; see `item_factors`."""
    return _factors(module, 0)


@speaking("embedding_frame")
def embedding_frame(module: SupervisedModule, column: str) -> pd.DataFrame:
    """Return the embedding of each value of a categorical column, in the order of the vocabulary.

    Args:
        module: A TabularModule or CollabModule.
        column: The name of the category in the schema.

    Returns:
        The value under the column's own name, `title` if there are titles, then `factor_1` and so on.

    Raises:
        BadTypeError: The module has no embeddings.
        UnknownNameError: There is no such category.

    Example:
        >>> from tabvision.schema import Schema, Target
        >>> from tabvision.tasks import Binary
        >>> job = Categorical(name="job", source="job", vocabulary=("cook", "nurse"))
        >>> module = TabularModule(Schema(target=Target(columns=("paid",), task=Binary()), categorical=(job,)))
        >>> embedding_frame(module, "job").columns.tolist()
        ['job', 'factor_1', 'factor_2', 'factor_3']
    """
    if not isinstance(module, CollabModule | TabularModule):
        problem = f"a module with embeddings is needed, got {type(module).__name__}"
        raise BadTypeError(problem, "Pass a TabularModule or CollabModule")
    columns = module.schema.categorical
    names = [category.name for category in columns]
    check_choice("category", column, names)
    index = names.index(column)
    return pd.concat([_labels_frame(columns[index]), _numbered(factor_rows(module, index), _FACTOR)], axis=1)


@speaking("pca")
def pca(factors: pd.DataFrame, k: int = 2) -> pd.DataFrame:
    """Project factors onto their first principal components, and keep the labels.

    Args:
        factors: The result of `item_factors`, `user_factors` or `embedding_frame`, or some of its rows.
        k: The number of components, at least 1 and at most the number of factors or rows.

    Returns:
        The labels, then `axis_1` and so on; `attrs["shares"]` holds the fraction of variance that each axis explains.

    Raises:
        BadTypeError: The frame has no factors.
        BadValueError: `k` is out of range.

    Source: fastai `Tensor.pca`, centered and projected; signs are chosen so that each component's largest weight is positive.

    Example:
        >>> frame = pd.DataFrame({"film": ["a", "b"], "factor_1": [0.0, 3.0], "factor_2": [0.0, 4.0]})
        >>> pca(frame, 1)["axis_1"].round(6).tolist()
        [-2.5, 2.5]
    """
    if not isinstance(factors, pd.DataFrame):
        raise BadTypeError(f"a frame of factors is needed, got {type(factors).__name__}", _PASS_FACTORS)
    names = [name for name in factors.columns if str(name).startswith(_FACTOR)]
    if not names:
        raise BadTypeError(f"the frame has no factors, only {listed(list(factors.columns))}", _PASS_FACTORS)
    values = factors[names].to_numpy(dtype=np.float64)
    most = min(values.shape)
    if not is_integer(k) or not 1 <= k <= most:
        problem = f"k must be a whole number from 1 to {most}, got {k!r}"
        raise BadValueError(problem, "Pass fewer axes, or more rows and factors")
    centered = values - values.mean(axis=0)
    _, scales, axes = np.linalg.svd(centered, full_matrices=False)
    axes = axes[:k] * np.sign(axes[np.arange(k), np.abs(axes[:k]).argmax(axis=1)])[:, None]
    total = np.square(scales).sum()
    fractions = np.square(scales[:k]) / total if total else np.zeros(k)
    labels = factors.drop(columns=names).reset_index(drop=True)
    frame = pd.concat([labels, _numbered(centered @ axes.T, _AXIS)], axis=1)
    frame.attrs["shares"] = np.round(fractions, 12).tolist()
    return frame


def _labels_frame(column: Categorical) -> pd.DataFrame:
    """Return the values of a category, with titles if there are any."""
    labels = pd.Series(list(column.vocabulary), name=column.source)
    return pd.DataFrame({column.source: labels, **({_TITLE: list(column.titles)} if column.titles else {})})


def counted_labels(module: CollabModule, index: int) -> pd.DataFrame:
    """Return the labels of users (index 0) or items (index 1), and the number of pairs in the data with each."""
    column = module.schema.categorical[index]
    counts = np.bincount(module.seen[index].numpy(), minlength=column.cardinality)[1:]
    return _labels_frame(column).assign(**{NUM_PAIRS: counts})


def factor_rows(module: SupervisedModule, index: int) -> NDArray[np.float32]:
    """Return the embedding of each value of a category in vocabulary order, without a bias, (V, F)."""
    net: Any = module.net
    if isinstance(net, EmbeddingDotBias):
        table: Any = (net.users, net.items)[index].factors
    else:
        nets: Any = net if isinstance(net, nn.ModuleList) else [net]  # a bag has several nets
        assert all(isinstance(each, EmbeddingMLP | PackedNet) for each in nets), "a module of categories has embeddings"
        table = torch.cat([each.embeddings.categories.table(index) for each in nets], dim=1)
    return np.asarray(table.detach().float().cpu().numpy()[1:])


def check_ratings_module(module: object) -> None:
    """Raise a BadTypeError if the module is not a CollabModule."""
    if not isinstance(module, CollabModule):
        remedy = "Load a checkpoint with CollabModule.load_from_checkpoint(path, weights_only=True)"
        raise BadTypeError(f"a CollabModule is needed, got {type(module).__name__}", remedy)


def _biases(module: CollabModule, index: int) -> pd.DataFrame:
    check_ratings_module(module)
    net = module.net
    if not isinstance(net, EmbeddingDotBias):
        raise BadValueError("only a module of kind 'dot' has a bias for each user and item", "Train with kind='dot'")
    biases = (net.users, net.items)[index].biases.detach().float().cpu().numpy()[1:]
    frame = counted_labels(module, index).assign(bias=biases)
    return frame.sort_values("bias", ascending=False, kind="stable", ignore_index=True)


def _factors(module: CollabModule, index: int) -> pd.DataFrame:
    check_ratings_module(module)
    return pd.concat([counted_labels(module, index), _numbered(factor_rows(module, index), _FACTOR)], axis=1)


def _numbered(values: NDArray[Any], prefix: str) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"{prefix}{number}" for number in range(1, values.shape[1] + 1)])
