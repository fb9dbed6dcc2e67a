"""A LightningDataModule for ratings, purchases or plays: which user took which item, and how they rated it."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from typing_extensions import override

from tabvision.checks import check_present, check_whole
from tabvision.data.base import DataPart, TensorDataModule
from tabvision.data.loaders import TensorLoader
from tabvision.data.ratings.negatives import NegativeLoader, NegativeSampler
from tabvision.data.ratings.rows import (
    Duplicates,
    Missing,
    complete_rows,
    settled_duplicates,
    titles_of,
    with_whole_ids,
    without_duplicates,
)
from tabvision.data.ratings.target import (
    IMPLICIT_TARGET,
    check_names,
    check_schema,
    check_settings,
    check_several,
    fit_ratings,
    log_out_of_range,
)
from tabvision.data.rows import taken
from tabvision.data.splits.base import PartName, Rows, Split, SplitRows
from tabvision.data.splits.ordered import LeaveLastOut, TimeSplit, ratings_split, times_as_numbers
from tabvision.data.splits.random import as_split
from tabvision.data.tables.read import Source, read_frame, text_format, words_of
from tabvision.data.tables.text_file import TextFormat
from tabvision.data.targets import encode_target
from tabvision.errors import count, listed, speaking
from tabvision.logs import notes_at
from tabvision.preprocess import Kinds, fit_features, to_arrays
from tabvision.schema import LeftOut, Schema
from tabvision.tasks import Task

logger = logging.getLogger("tabvision")
_NOT_READ = "a model of ratings reads users and items"
RatingsSplit = float | Split | Literal["time", "last"] | tuple[float | None, float] | None
"""A random fraction of rows, a split object, "time" (the latest fifth), "last" (each user's last row), or None."""


class CollabDataModule(TensorDataModule):
    """Load ratings of items by users for training: encode ids, split rows, join titles.

    With a rating, predictions are numbers within `y_range`, or yes and no. Without one, each row means that the user took the
    item, and negatives are drawn from items not taken: again each epoch in training, once for validation.

    Args:
        source: A DataFrame with one row per rating, or the path of a CSV, Parquet, Feather or Excel file, or of several: a
            list, "data/*.csv" or a folder.
        user: The column of user ids.
        item: The column of item ids.
        rating: The column of ratings; None if each row just means that the user took the item.
        timestamp: The column of timestamps, for `split="time"` or "last" and `duplicates="last"`; see `TimeSplit`.
        titles: A table or file with a column of titles and one of item ids, named as in the ratings.
        title: The column of titles, in `titles` if given, else in the ratings.
        task: The kind of rating: a task, its name, or None to infer it.
        y_range: Lowest and highest prediction; None for the range of ratings in the source, widened by half a step.
        split: Fraction of rows for validation in (0, 1), a pair of fractions for validation and testing, a split object,
            "time", "last", or None to train on all rows.
        negatives: Number of items not taken to draw for each item taken, at least 1; only without a rating.
        duplicates: "error" to raise if a (user, item) pair repeats, "last" to use its last row, "keep" to use all; "few" to
            use the last if at most one row in a thousand repeats a pair, else to raise.
        missing: "error" to raise if an id, a rating or a timestamp in use is missing, "drop" to leave such rows out and log
            how many.
        test: A table or file with test rows.
        predict: A table or file with pairs to predict; it needs no rating.
        batch_size: Ratings per rank in one training step, not counting negatives.
        seed: Determines the split and, together with the epoch, the order of training rows and the negatives.
        schema: Facts to reuse instead of fitting new ones: `module.schema` of a trained module.
        encoding: Encoding of a text file that is not UTF-8, such as "latin-1".
        na_values: The words in a CSV file that mark a missing value, as an empty cell always does; None for NA, nan, NULL and
            the like (and None, except in a column of words), [] for none.
        sep: The text between the fields of a CSV file, such as "::"; " " is any white space, None detects it.
        names: The column names of a CSV file without a header; [] to number the columns, None to detect a header.
        day_first: Whether timestamps in text such as 3/4/2024 have the day before the month.
        verbose: Whether to print the schema and notes on the data.

    Raises:
        MissingFileError: A file does not exist.
        MissingColumnsError: A column does not exist.
        BadTypeError: A column does not hold ids, or the target is not a rating.
        BadValueError: The table cannot be trained on as it is; the message says what to do.

    Example:
        >>> frame = pd.DataFrame({"who": [1, 1, 2, 2, 3], "film": list("abbcc"), "stars": [1, 4, 5, 3, 2]})
        >>> data = CollabDataModule(frame, user="who", item="film", rating="stars", batch_size=2, verbose=False)
        >>> data.schema.task.y_range, next(iter(data.train_dataloader()))["categorical"].shape
        ((0.5, 5.5), torch.Size([2, 2]))
    """

    @speaking()
    def __init__(
        self,
        source: Source,
        *,
        user: str,
        item: str,
        rating: str | None = None,
        timestamp: str | None = None,
        titles: Source | None = None,
        title: str | None = None,
        task: Task | str | None = None,
        y_range: tuple[float, float] | None = None,
        split: RatingsSplit = 0.2,
        negatives: int = 4,
        duplicates: Duplicates = "error",
        missing: Missing = "error",
        test: Source | None = None,
        predict: Source | None = None,
        batch_size: int = 1024,
        seed: int = 0,
        schema: Schema | None = None,
        encoding: str | None = None,
        na_values: Sequence[str] | None = None,
        sep: str | None = None,
        names: Sequence[str] | None = None,
        day_first: bool = False,
        verbose: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, verbose=verbose)
        check_names(user, item, rating, timestamp=timestamp, title=title)
        check_settings(rating, task, y_range)
        self.user, self.item, self.rating = user, item, rating
        self.negatives = check_whole("negatives", negatives, remedy="Pass a number such as 4")
        self.missing, self._day_first = missing, day_first
        self._form = text_format(schema, encoding=encoding, na_values=na_values, sep=sep, names=names)
        with notes_at(verbose):
            split = ratings_split(split, user, timestamp, day_first=day_first) if isinstance(split, str) else split
            divide = as_split(split, stratify=False)
            own_title = title if titles is None else None
            self._used = {user, item, rating, timestamp, own_title, *divide.columns}
            gathered = divide.gather(self._read(source, schema), **self._form)
            self.frame = self._with_ids(gathered, rating, timestamp)
            self.duplicates = settled_duplicates(self.frame, (user, item), duplicates)
            numbers = self._complete(self.frame, self._used_timestamp(timestamp, split))
            rows = taken(self.frame, numbers)
            check_several(rows, user, item)
            parts = divide.among(numbers, len(self.frame))(rows, None, seed=seed)
            if schema is None:
                needed = [name for name in (user, item, rating) if name is not None]
                training = taken(rows[needed], parts.train)
                schema = self._fit(training, task, y_range, self._titles(titles, title), title)
                del training
            else:
                check_schema(schema, user, item, rating)
            self.schema = schema
            self._fill(rows, numbers, parts, {"test": test, "predict": predict})
            logger.info(self.summary())
            self._log_unknown()

    def known_pairs(self) -> Tensor:
        """Return the user and item codes of the source's pairs, (2, P) int32, without those unknown to training."""
        return self._codes[(self._codes > 0).all(dim=1)].T.contiguous()

    def training_pairs(self) -> Tensor:
        """Return the user and item codes of the training pairs, (2, P) int32."""
        return self._codes[self.parts["train"].rows].T.contiguous()

    @speaking()
    def held_out_pairs(self, part: PartName = "val") -> Tensor:
        """Return the user and item codes of the pairs in a part, (2, P) int32."""
        tensors, rows = self.part(part)
        return tensors["categorical"][rows].T.contiguous()

    @override
    def baseline(self, part: PartName = "val") -> dict[str, float]:
        """Return the metrics of the best constant prediction; empty without a rating, since all targets are then yes."""
        return {} if self.rating is None else super().baseline(part)

    @override
    def train_dataloader(self) -> TensorLoader | NegativeLoader:
        return self._with_negatives("train")

    @override
    def val_dataloader(self) -> Any:
        return self._with_negatives("val") if "val" in self.parts else super().val_dataloader()

    @override
    def test_dataloader(self) -> TensorLoader | NegativeLoader:
        return self._with_negatives("test")

    def _read(self, source: Source, schema: Schema | None) -> pd.DataFrame:
        return read_frame(source, **self._form, known={} if schema is None else schema.known_columns)

    def _with_ids(self, frame: pd.DataFrame, *others: str | None) -> pd.DataFrame:
        """Return the frame with integer ids; raise if an id column or one of the others does not exist."""
        needed = [self.user, self.item, *(name for name in others if name is not None)]
        check_present(needed, frame.columns, f"Columns are {listed([*frame.columns])}")
        return with_whole_ids(frame, [self.user, self.item])

    def _used_timestamp(self, timestamp: str | None, split: RatingsSplit) -> str | None:
        """Return the column of timestamps if anything depends on it; otherwise log that it is not used."""
        if timestamp is None or isinstance(split, str | TimeSplit | LeaveLastOut) or self.duplicates == "last":
            return timestamp
        purpose = 'it is for split="time" or "last", or duplicates="last"'
        logger.info(f"Column {timestamp!r} of timestamps is not used: {purpose}.")
        return None

    def _complete(self, frame: pd.DataFrame, timestamp: str | None) -> Rows:
        """Return the row numbers, leaving out missing values and duplicate pairs."""
        needed = [name for name in (self.user, self.item, self.rating, timestamp) if name is not None]
        rows = complete_rows(frame, needed, self.missing)
        if timestamp is not None and self.duplicates == "last":
            times = times_as_numbers(frame[timestamp].iloc[rows], day_first=self._day_first)
            rows = rows[np.argsort(times, kind="stable")]  # stable: rows with equal times stay in order
        return np.sort(without_duplicates(frame, rows, (self.user, self.item), self.duplicates))

    def _titles(self, titles: Source | None, title: str | None) -> pd.DataFrame | None:
        if titles is not None:
            with speaking(f"{type(self).__name__}, titles", keep=True):
                is_text = isinstance(self.frame[self.item].dtype, pd.StringDtype)
                form = TextFormat(encoding=self._form.get("encoding"), na_values=self._form.get("na_values"))
                return read_frame(titles, **form, known={self.item: () if is_text else None})
        return None if title is None else self.frame

    def _fit(
        self,
        training: pd.DataFrame,
        task: Task | str | None,
        y_range: tuple[float, float] | None,
        titles: pd.DataFrame | None,
        title: str | None,
    ) -> Schema:
        kinds = Kinds(categorical=(self.user, self.item))
        users, items = fit_features(training, kinds).categorical
        if titles is not None:
            with speaking(f"{type(self).__name__}, titles", keep=True):
                items = dataclasses.replace(items, titles=titles_of(items, titles, title or "title"))
        if self.rating is None:
            drawn = f"{self.negatives} negatives are drawn for each. Override with rating (--target) or negatives."
            logger.info(f"No rating: each row means that {self.user!r} took {self.item!r}; {drawn}")
            target = IMPLICIT_TARGET
        else:
            scale = self.frame[self.rating].dropna()
            target = fit_ratings(training, self.rating, task, y_range, scale)
        left_out = tuple(LeftOut(name=name, reason=_NOT_READ) for name in self.frame if name not in self._used)
        words = words_of(self._form)
        return Schema(target=target, categorical=(users, items), left_out=left_out, na_values=words)

    def _fill(
        self, rows: pd.DataFrame, numbers: Rows, parts: SplitRows, sources: dict[PartName, Source | None]
    ) -> None:
        """Set the tensors of every part."""
        tensors = self._tensors(rows, numbers, has_target=True)
        self._codes = tensors["categorical"]
        self.parts = {name: DataPart(tensors, _as_tensor(some)) for name, some in parts.numbers().items()}
        if self.rating is not None:
            for name, some in (("validation", parts.validation), ("test", parts.test)):
                log_out_of_range(rows.iloc[some], self.schema.target, name)
        for name, source in sources.items():
            if source is not None:
                self._check_free(name)
                with speaking(f"{type(self).__name__}, {name}", keep=True):
                    self.parts[name] = self._given(name, self._read(source, self.schema))
        self._eval_sampler = self._sampler_of_all() if self.rating is None else None
        if self.rating is None:
            (name,), (_, yes) = IMPLICIT_TARGET.columns, IMPLICIT_TARGET.classes
            every = pd.Categorical.from_codes(np.zeros(len(self.frame), dtype=np.int8), [yes])  # one byte per row
            self.frame = self.frame.assign(**{name: every})

    def _given(self, name: PartName, frame: pd.DataFrame) -> DataPart:
        """Return the part for a separate source. A missing id gets the code of an unknown user or item."""
        needs_rating = name == "test" and self.rating is not None
        frame = self._with_ids(frame, self.rating if needs_rating else None)
        numbers: Rows = np.arange(len(frame), dtype=np.int64)
        if needs_rating:
            numbers = complete_rows(frame, [str(self.rating)], self.missing)
            frame = taken(frame, numbers)
            log_out_of_range(frame, self.schema.target, name)
        return DataPart(self._tensors(frame, numbers, has_target=name == "test"), torch.arange(len(frame)))

    def _tensors(self, rows: pd.DataFrame, numbers: Rows, *, has_target: bool) -> dict[str, Tensor]:
        """Return the tensors of a part. Code 0 is unknown to training; without a rating, every target is yes."""
        codes = torch.from_numpy(to_arrays(self.schema, rows)[1])
        tensors = {"categorical": codes, "index": _as_tensor(numbers)}
        if has_target and self.rating is None:
            tensors["target"] = torch.ones(1, dtype=torch.int64).expand(len(codes))  # stores only one number
        elif has_target:
            tensors["target"] = torch.from_numpy(encode_target(rows, self.schema.target))
        return tensors

    def _sampler(self, pairs: Tensor) -> NegativeSampler:
        users, items = self.schema.categorical
        sizes = {"num_users": len(users.vocabulary), "num_items": len(items.vocabulary)}
        return NegativeSampler(pairs[0].numpy(), pairs[1].numpy(), seed=self.seed, **sizes)

    def _with_negatives(self, part: PartName) -> TensorLoader | NegativeLoader:
        """Return the loader of a part. Without a rating its batches have negatives, which vary only in training."""
        loader = self.loader(part)
        if self._eval_sampler is None:
            return loader
        trains = part == "train"
        sampler = self._sampler(self.training_pairs()) if trains else self._eval_sampler
        return NegativeLoader(loader, sampler, self.negatives, fixed=not trains)

    def _sampler_of_all(self) -> NegativeSampler:
        """Return the sampler for evaluation, which draws items that a user has not taken in any part."""
        codes = {id(pairs): pairs for part in self.parts.values() for pairs in [part.tensors["categorical"]]}  # shared
        first, *others = codes.values()
        sampler = self._sampler((torch.cat([first, *others]) if others else first).T)
        if full := sampler.num_full():
            logger.info(f"Note: {count(full, 'user')} took every item, so their negatives are items that they took.")
        return sampler

    def _log_unknown(self) -> None:
        """Log how many rows of each part have a user or item unknown to training."""
        for name, (tensors, rows) in self.parts.items():
            unknown = (tensors["categorical"][rows] == 0).sum(dim=0).tolist() if name != "train" else []
            for number, role in zip(unknown, ("a user", "an item"), strict=False):
                if number:
                    rest = f"with {role} not seen in training, predicted as an average one."
                    logger.info(f"{name}: {number:,} of {count(len(rows), 'row')} {rest}")


def _as_tensor(rows: Rows) -> Tensor:
    """Return row numbers as int32, half the memory, unless they need more than 31 bits."""
    return torch.from_numpy(rows if rows.max(initial=0) >= 2**31 else rows.astype(np.int32))
