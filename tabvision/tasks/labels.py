"""Convert a target column to classes, codes, flags or numbers, and back."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from numbers import Number
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tabvision.errors import BadTypeError, BadValueError, count, listed, speaking
from tabvision.plain import Label, check_digits, codes_by_label, shortest_decimals

_HEAD_ROWS = 10_000
_FLOAT32_RESOLUTION = 1.2e-5  # float32 resolves 1.2e-7 of a number, and at most a hundredth of the std may be lost
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def are_numbers(values: pd.Series, *, bools: bool = True) -> bool:
    """Return whether the dtype of a column is numeric; `bools` says whether bools count as numbers."""
    return bool(pd.api.types.is_numeric_dtype(values)) and (bools or not pd.api.types.is_bool_dtype(values))


def are_flags(values: pd.Series) -> bool:
    """Return whether a column holds only 0 and 1, or False and True."""
    return are_numbers(values) and bool(values.isin([0, 1]).all())


def has_single(values: pd.Series) -> bool:
    """Return whether some value occurs in only one of 50 to 20,000 rows, like the tail of a count and unlike a class.

    Example:
        >>> visits = pd.Series([0, 1, 2, 3] * 20 + [9_999])
        >>> has_single(visits), has_single(visits[:-1]), has_single(pd.Series([1, 2, 3]))
        (True, False, False)
    """
    return bool(50 <= len(values) <= 20_000 and (values.value_counts() == 1).any())


def parse_as_numbers(values: pd.Series) -> bool:
    """Return whether every value is text that can be read as a number."""
    return bool(pd.to_numeric(values, errors="coerce").notna().all())


@speaking("infer_task")
def few_distinct(values: pd.Series, limit: int) -> list[Label] | None:
    """Return the sorted distinct values, or None if there are more than `limit`.

    Example:
        >>> few_distinct(pd.Series([3, 1, 3]), 2), few_distinct(pd.Series([3, 1, 2]), 2)
        ([1, 3], None)
    """
    if values.iloc[:_HEAD_ROWS].nunique() > limit:  # settles most numeric columns without reading all rows
        return None
    distinct = values.unique()
    return None if len(distinct) > limit else list(_sorted(pd.Series(distinct), str(values.name)))


def joined_by(texts: Sequence[str]) -> tuple[str, int] | None:
    """Return the separator of labels that combine a few words, and the number of words; None if they do not.

    Example:
        >>> joined_by(["cat", "dog", "cat dog"]), joined_by(["a;b", "a;c", "b;c", "c;d", "a", "b"])
        ((' ', 2), (';', 4))
        >>> joined_by(["good", "very good", "bad"]), joined_by(["New York", "New Jersey", "Los Angeles"])
        (None, None)
    """
    for separator in "|;, ":
        parts = [[part for each in text.split(separator) if (part := each.strip())] for text in texts]
        joined = [some for some in parts if len(some) > 1]
        words, alone = {part for some in parts for part in some}, {some[0] for some in parts if len(some) == 1}
        are_few = 2 * len(words) <= len(parts) or (len(words) < len(parts) and len(alone & set().union(*joined)) > 1)
        is_usual = alone == words or 2 * len(joined) > len(parts)
        if joined and are_few and is_usual and all(len(set(some)) == len(some) for some in joined):
            return separator, len(words)
    return None


def check_kind(values: pd.Series, name: str) -> None:
    """Raise if a column holds values that no task predicts: dates, lists or other objects."""
    is_duration = values.dtype.kind == "m"
    if is_duration or pd.api.types.is_datetime64_any_dtype(values) or isinstance(values.dtype, pd.PeriodDtype):
        problem = f"the target {name!r} holds {values.dtype} values, expected classes or numbers"
        number = "total_seconds()" if is_duration else "year"
        raise BadTypeError(problem, f"Predict a number computed from it, such as frame[{name!r}].dt.{number}")
    if isinstance(values.dtype, pd.ArrowDtype) and pa.types.is_nested(values.dtype.pyarrow_dtype):
        values = values.astype(object)
    if values.dtype != object and not pd.api.types.is_complex_dtype(values):
        return
    kinds = {type(value) for value in values.dropna()}
    if any(issubclass(kind, complex | np.complexfloating) for kind in kinds):
        problem = f"the target {name!r} holds complex numbers, expected classes or numbers"
        raise BadTypeError(problem, f"Predict a part of it, such as np.real(frame[{name!r}])")
    if kinds & {list, tuple, set, frozenset, dict, np.ndarray}:
        problem = f"the target {name!r} holds lists, expected a value or text in each cell"
        remedy = f"For several labels per row join them, frame[{name!r}].map('|'.join), and pass separator='|'"
        raise BadTypeError(problem, remedy)
    if len(kinds) > 1 and not all(issubclass(kind, int | float | np.number) for kind in kinds):
        times = Counter(type(value).__name__ for value in values.dropna())
        found = listed([f"{kind} ({number:,})" for kind, number in times.most_common()])
        raise BadTypeError(f"the target {name!r} mixes kinds of values: {found}", f'Try frame[{name!r}].astype("str")')


def classes_of(values: pd.Series, name: str) -> tuple[Label, ...]:
    """Return the classes of a column in code order: sorted, or in the order of an ordered category; intervals as text.

    Example:
        >>> sizes = pd.Series(pd.Categorical(["s", "l"], categories=["s", "m", "l"], ordered=True))
        >>> classes_of(sizes, "size"), classes_of(sizes.astype("str"), "size")
        (('s', 'l'), ('l', 's'))
    """
    check_kind(values, name)
    distinct = pd.Series(values.unique())
    check_digits(distinct.to_numpy(), name)
    return _sorted(distinct, name)


def class_codes(values: pd.Series, classes: Sequence[Label], name: str) -> NDArray[np.int64]:
    """Return the code of each row's class.

    Raises:
        BadValueError: A class is not in the training rows.
    """
    check_kind(values, name)
    if isinstance(values.dtype, pd.CategoricalDtype):
        lookup = _indices(pd.Series(list(map(_as_label, values.cat.categories))), classes, name)
        codes = np.append(lookup, -1)[values.cat.codes]
    elif isinstance(values.dtype, pd.StringDtype) and all(isinstance(label, str) for label in classes):
        found = pc.index_in(pa.array(values, from_pandas=True), value_set=pa.array(list(classes)))
        codes = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
    else:
        codes = _indices(_as_numbers(values, classes), classes, name)
    if (unseen := codes < 0).any():
        raise _unseen(Counter(values[unseen].tolist()), "class", name)
    return np.asarray(codes, dtype=np.int64)


def as_flags(values: pd.Series, name: str) -> NDArray[np.float32]:
    """Return a column of 0 and 1 as float32; raise if it holds anything else."""
    if not are_flags(values):
        shown = listed([repr(value) for value in values.unique()[:8].tolist()])
        problem = f"a column of labels must hold 0 and 1, or False and True; {name!r} holds {shown}"
        raise BadValueError(problem, "Turn it into 0 and 1, or use Regression for numbers")
    return cast("NDArray[np.float32]", values.to_numpy(dtype=np.float32))


def as_floats(values: pd.Series, name: str) -> NDArray[np.float64]:
    """Return a column of numbers, or of text that reads as numbers, as float64.

    Raises:
        BadTypeError: A value is not a number.
        BadValueError: A number is infinite, or the numbers are too close together for float32, in which networks compute.
    """
    check_kind(values, name)
    if not are_numbers(values):
        plain = values.astype("str") if isinstance(values.dtype, pd.CategoricalDtype) else values
        parsed = pd.to_numeric(plain, errors="coerce")
        if (failed := parsed.isna()).any():
            shown = listed([repr(value) for value in values[failed].unique()[:8].tolist()])
            number = f"{failed.sum():,} of {count(len(values), 'value')}"
            problem = f"Regression needs numbers; {number} of {name!r} cannot be read: {shown}"
            raise BadTypeError(problem, "Correct them, or use Multiclass for classes")
        values = parsed
    numbers = cast("NDArray[np.float64]", values.to_numpy(dtype=np.float64))
    if outside := int((~(np.abs(numbers) <= _FLOAT32_MAX)).sum()):
        problem = f"the target {name!r} holds {count(outside, 'number')} infinite or beyond {_FLOAT32_MAX:.1e}"
        raise BadValueError(problem, "Leave those rows out, or predict the logarithm")
    mean, std = (abs(float(numbers.mean())), float(numbers.std())) if numbers.size else (0.0, 0.0)
    if 0 < std < _FLOAT32_RESOLUTION * mean:
        problem = f"the target {name!r} varies by {std:.3g} around {mean:.8g}, finer than float32 can resolve"
        raise BadValueError(problem, "Subtract a constant, such as the smallest value")
    return numbers


def tags(values: pd.Series, separator: str, name: str) -> tuple[str, ...]:
    """Return the sorted distinct labels of a column of joined labels."""
    found = pc.unique(_separated(values, separator, name)[0]).to_pylist()
    if not found:
        raise BadValueError(f"the target {name!r} holds no label in any row", "Choose another target or separator")
    return tuple(sorted(found))


def multi_hot(values: pd.Series, separator: str, classes: Sequence[str], name: str) -> NDArray[np.float32]:
    """Return (N, C) with a 1 for each label of each row.

    Example:
        >>> multi_hot(pd.Series(["b | a", "", "b"]), "|", ["a", "b"], "tags").tolist()
        [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    """
    found, rows = _separated(values, separator, name)
    codes = pc.fill_null(pc.index_in(found, value_set=pa.array(list(classes))), -1).to_numpy(zero_copy_only=False)
    if (unseen := codes < 0).any():
        raise _unseen(Counter(found.filter(pa.array(unseen)).to_pylist()), "label", name)
    flags = np.zeros((len(values), len(classes)), dtype=np.float32)
    flags[rows, codes] = 1
    return flags


def as_array(classes: Sequence[Label]) -> NDArray[Any]:
    """Return labels as an array that can be indexed with codes.

    Text stays Python objects, since numpy's own strings are all as wide as the widest. So do labels of several types, since
    numpy would convert both 1 and "a" to text, and integers that do not fit one 64-bit type.
    """
    one_kind = len({type(label) for label in classes}) == 1 and not isinstance(classes[0], str)
    found = np.array(classes, dtype=None if one_kind else object)
    return found if isinstance(classes[0], float) or found.dtype.kind != "f" else np.array(classes, dtype=object)


def as_column(classes: Sequence[Label], codes: NDArray[Any]) -> Any:  # noqa: ANN401 - an array of numpy or pandas
    """Return the labels of codes as a frame takes them fastest: text as pandas' own array."""
    is_text = all(isinstance(label, str) for label in classes)
    return (_as_texts(tuple(classes)) if is_text else as_array(classes)).take(codes)


@functools.lru_cache
def _as_texts(classes: tuple[Label, ...]) -> Any:  # noqa: ANN401 - one of pandas' arrays
    return pd.array(list(classes), dtype="str")


def row_name(frame: pd.DataFrame, rows: NDArray[np.bool_]) -> str:
    """Return the index label of the first row that is marked.

    Example:
        >>> row_name(pd.DataFrame({"x": [5, 6]}, index=["a", "b"]), np.array([False, True]))
        "'b'"
    """
    row = int(rows.argmax())
    return repr(frame.index[row : row + 1].tolist()[0])


def one_value(value: object, num_rows: int, name: str) -> BadValueError:
    """Return the error for a target with the same value in every row."""
    rows = "its only row" if num_rows == 1 else f"all {num_rows:,} rows"
    problem = f"the target {name!r} holds one value, {value!r}, in {rows}"
    return BadValueError(problem, "There is nothing to learn; choose another target or more varied rows")


def _sorted(distinct: pd.Series, name: str) -> tuple[Label, ...]:
    check_kind(distinct, name)
    in_order = False
    if isinstance(distinct.dtype, pd.CategoricalDtype):
        categories = distinct.cat.remove_unused_categories().cat.categories
        in_order = distinct.cat.ordered or isinstance(categories.dtype, pd.IntervalDtype)
        if in_order:
            distinct = pd.Series(list(map(_as_label, categories)))
    numbers = shortest_decimals(distinct.to_numpy()) if pd.api.types.is_float_dtype(distinct) else distinct
    found = [value.item() if isinstance(value, np.generic) else value for value in numbers.tolist()]
    if not all(isinstance(label, str | int | float) for label in found):
        problem = f"the target {name!r} holds {type(found[0]).__name__} values, expected text, numbers or bools"
        if isinstance(found[0], Number):
            raise BadTypeError(problem, f"Convert them to Python numbers: frame[{name!r}].astype(float)")
        raise BadTypeError(problem, f'Convert them to text: frame[{name!r}].astype("str")')
    if any(isinstance(label, float) and not np.isfinite(label) for label in found):
        raise BadValueError(f"the target {name!r} holds infinities, which are not classes", "Leave those rows out")
    if all(isinstance(label, float) and label.is_integer() for label in found):
        found = [*map(int, found)]  # pandas turned integers into floats because of a missing value
    return tuple(found if in_order else sorted(found))


def _as_label(category: object) -> Any:  # noqa: ANN401 - a label, unless the user's category is none
    """Return an interval of `pd.cut` as text, as files and checkpoints hold it; other categories unchanged."""
    return str(category) if isinstance(category, pd.Interval) else category


def _indices(values: pd.Series, classes: Sequence[Label], name: str) -> NDArray[np.int64]:
    """Return the index of each value among the classes, or -1 if it is not among them."""
    if pd.api.types.is_float_dtype(values):
        largest = max((abs(label) for label in classes if not isinstance(label, str)), default=0)
        check_digits(values.to_numpy(), name, largest)
        values = values.astype(np.float64)
    codes = codes_by_label(classes)
    one_kind = len(set(map(type, codes))) < 2
    found = pd.Index(list(codes), dtype=None if one_kind else object).get_indexer(pd.Index(values))
    return np.asarray(np.array([-1, *(code - 1 for code in codes.values())])[found + 1], dtype=np.int64)


def _as_numbers(values: pd.Series, classes: Sequence[Label]) -> pd.Series:
    """Return text as numbers if the classes are numbers and all of it can be read so, as from a text file.

    Example:
        >>> _as_numbers(pd.Series(["0", "1"]), [0, 1]).tolist(), _as_numbers(pd.Series(["0", "x"]), [0, 1]).tolist()
        ([0, 1], ['0', 'x'])
    """
    if not isinstance(values.dtype, pd.StringDtype) or any(isinstance(label, str | bool) for label in classes):
        return values
    parsed = pd.to_numeric(values, errors="coerce")
    return values if parsed.isna().any() else parsed


def _separated(values: pd.Series, separator: str, name: str) -> tuple[Any, NDArray[np.int64]]:
    """Return all labels in a column, stripped and without empty ones, and the row number of each."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype("str")
    check_kind(values, name)
    if not pd.api.types.is_string_dtype(values):
        problem = f"a separator needs labels in text, the target {name!r} holds {values.dtype} values"
        raise BadTypeError(problem, "Leave the separator out")
    lists = pc.split_pattern(pa.array(values, type=pa.large_string(), from_pandas=True), separator)
    rows = np.repeat(np.arange(len(values)), pc.list_value_length(lists).to_numpy(zero_copy_only=False))
    found = pc.utf8_trim_whitespace(pc.list_flatten(lists))
    filled = pc.not_equal(found, "")
    return found.filter(filled), rows[filled.to_numpy(zero_copy_only=False)]


def _unseen(times: Counter[Any], noun: str, name: str) -> BadValueError:
    shown = listed([f"{label!r} ({count(rows, 'row')})" for label, rows in times.most_common()])
    plural = noun if len(times) == 1 else {"class": "classes", "label": "labels"}[noun]
    problem = f"the target {name!r} holds {len(times):,} {plural} not seen in training: {shown}"
    remedy = "Leave those rows out, or split so that training has them (StratifiedSplit does)"
    return BadValueError(
        problem, f"{remedy}; if schema= is from a checkpoint that does not know them, leave it out and train anew"
    )
