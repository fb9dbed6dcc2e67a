"""Explain a model's answer to one row by the contribution of each column."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tabvision.checks import check_choice, check_whole
from tabvision.errors import BadValueError, speaking
from tabvision.inference.batches import ROWS_AT_ONCE, Arrays, Inputs
from tabvision.inference.inputs import Source as Rows
from tabvision.inference.predictor import Predictor
from tabvision.interpret.rows import (
    Model,
    answer_names,
    positions_of,
    predictor_of,
    raw_columns,
    read_rows,
    with_features,
)

Unit = Literal["answer", "logits"]
Row: TypeAlias = Mapping[str, object] | pd.Series | pd.DataFrame


@speaking("explain")
def explain(
    model: Model, row: Row, background: Rows, *, samples: int = 64, seed: int = 0, unit: Unit = "answer"
) -> pd.DataFrame:
    """Return the Shapley values of a row: what each raw column adds to its answer, relative to background rows.

    A background row is turned into the row column by column, in a random order and then in its reverse; a column's
    contribution is the mean change of the answer when the column changes. Contributions add up exactly to the answer minus
    the mean answer to the background rows used. They say what the model does, not what causes the target.

    Args:
        model: A `Predictor`, a module in memory, or the path of a checkpoint.
        row: A row as a dict, a series, or a frame of one row.
        background: Rows like those in training, to compare with: a frame or a table file. Up to `samples / 2` rows all count
            equally; from more, that many are drawn.
        samples: Number of orders to change the columns in, at least 2, rounded up to pairs, each for a background row.
        seed: Determines the drawn rows and the orders.
        unit: "answer" for probabilities or numbers in the user's units; "logits" for the network's outputs.

    Returns:
        `column`, its `value` in the row, `answer` (`probability_<class>`, `prediction`, or `logit_<class>`) and
        `contribution`; for each answer, the largest absolute contribution first. `attrs["answer"]` and `attrs["baseline"]`
        hold each answer and the mean answer to the background rows.

    Raises:
        BadTypeError: The model reads only images, or the rows are not a table.
        BadValueError: `row` is not one row, `background` has no rows, or a number is out of range.
        UnknownNameError: There is no such unit.

    Source:
        Strumbelj and Kononenko 2014, "Explaining prediction models and individual predictions with feature contributions";
        reversed pairs, Mitchell et al. 2022, "Sampling Permutations for Shapley Value Estimation".
    """
    check_whole("samples", samples, 2)
    check_choice("unit", unit, get_args(Unit))
    predictor, rng = predictor_of(model), np.random.default_rng(seed)
    source: Any = row.to_dict() if isinstance(row, pd.Series) else row
    to = predictor.read(source)
    if to.num_rows != 1:
        raise BadValueError(f"row must be one row, got {to.num_rows:,}", "Pass one, such as frame.iloc[0]")
    to, is_frame = with_features(predictor, to), isinstance(source, pd.DataFrame)
    values = {name: source[name].iloc[0] if is_frame else source[name] for name in raw_columns(predictor)}
    num_pairs = (samples + 1) // 2
    others = read_rows(predictor, background, None if predictor.schema.image is None else num_pairs, rng)
    num_rows = others.num_rows
    if num_rows <= num_pairs:
        starts = np.tile(np.arange(num_rows), -(-num_pairs // num_rows))  # the background row of each sample
    else:
        starts = rng.permutation(num_rows)[:num_pairs]
    orders = rng.permuted(np.tile(np.arange(len(values)), (len(starts), 1)), axis=1)  # in which its columns change
    starts, orders = np.tile(starts, 2), np.concatenate([orders, orders[:, ::-1]])
    answer = predictor.answers if unit == "answer" else lambda arrays: predictor.logits(arrays).cpu().numpy()
    paths = _along_paths(predictor, to, others, starts, orders, answer)
    changes = np.zeros((*orders.shape, paths.shape[2]))  # (samples, columns, answers)
    np.put_along_axis(changes, orders[:, :, None], np.diff(paths, axis=1), axis=1)
    names = answer_names(predictor.schema, paths.shape[2], logits=unit == "logits")
    parts = [
        pd.DataFrame({"column": list(values), "value": list(values.values()), "answer": name, "contribution": found})
        for name, found in zip(names, changes.mean(axis=0).T, strict=True)
    ]
    parts = [part.sort_values("contribution", key=abs, ascending=False, kind="stable") for part in parts]
    frame = pd.concat(parts, ignore_index=True)
    for fact, step in (("answer", -1), ("baseline", 0)):
        frame.attrs[fact] = dict(zip(names, paths[:, step].mean(axis=0).tolist(), strict=True))
    return frame


def _along_paths(
    predictor: Predictor,
    to: Inputs,
    others: Inputs,
    starts: NDArray[np.intp],
    orders: NDArray[np.intp],
    answer: Callable[[Arrays], NDArray[Any]],
) -> NDArray[np.float64]:
    """Return the answers at each step of turning background rows into the row, (S, columns + 1, answers)."""
    num_steps = orders.shape[1] + 1
    ranks = np.argsort(orders, axis=1)
    found = []
    at_once = max(1, ROWS_AT_ONCE // num_steps)
    for first in range(0, len(orders), at_once):
        part = slice(first, first + at_once)
        changed = (ranks[part, None, :] < np.arange(num_steps)[:, None]).reshape(-1, orders.shape[1])
        rows = np.repeat(starts[part], num_steps)
        arrays = {name: array[rows] for name, array in others.arrays.items()}
        for index, column in enumerate(raw_columns(predictor).values()):
            for name, positions in positions_of(column).items():
                for position in positions:
                    arrays[name][changed[:, index], position] = to.arrays[name][0, position]
        found.append(answer({"index": np.arange(len(changed)), **arrays}))
    answers = np.concatenate(found).astype(np.float64)
    return answers.reshape(len(orders), num_steps, -1)
