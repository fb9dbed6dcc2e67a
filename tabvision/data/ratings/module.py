"""A LightningDataModule for ratings, purchases, plays: which user took which item, and how they liked it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from tabvision.data.base import Part, PartName, TensorDataModule
from tabvision.data.loaders import TensorLoader
from tabvision.data.ratings.negatives import NegativeLoader, NegativeSampler, with_drawn_rows, with_negatives
from tabvision.data.ratings.rows import (
    Duplicates,
    Missing,
    complete_rows,
    in_time,
    titles_of,
    with_whole_ids,
    without_duplicates,
)
from tabvision.data.ratings.target import (
    IMPLICIT_TARGET,
    check_names,
    check_part,
    check_present,
    check_schema,
    check_settings,
    check_several,
    out_of_range,
    ratings_target,
)
from tabvision.data.rows import divide_kept, encode_kept
from tabvision.data.splits.base import Parts, Split, as_split
from tabvision.data.splits.ordered import ratings_split
from tabvision.data.tables.read import Source, read_table
from tabvision.errors import count, speaking
from tabvision.preprocess import Kinds, fit_features, to_arrays
from tabvision.schema import Categorical, Schema
from tabvision.tasks import Task

WHO = "CollabDataModule"
RatingsSplit = float | Split | Literal["time", "last"] | None
"""A share of rows at random, a split object, "time" (the latest fifth), "last" (the last row of each user), or None."""


class CollabDataModule(TensorDataModule):
    """Ratings of items by users, ready to train on: ids coded, rows split, titles joined.

    With a rating, the answer is a number within `y_range`, or yes and no. Without one every row means that the user took
    the item; items not taken are drawn beside them, anew each epoch in training and once for validation.

    Args:
        source: A DataFrame, or the path of a CSV, Parquet or Feather file; one row a rating.
        user: The column of users' ids.
        item: The column of items' ids.
        rating: The column of ratings; None where each row means that the user took the item.
        timestamp: The column of times, for `split="time"` or "last" and `duplicates="last"`; as for `TimeSplit`.
        titles: A table or file with a column of item ids, named as in the ratings, and one of titles.
        title: The column of titles, in `titles` or else in the ratings themselves.
        task: What kind of rating it is: a task, its name, or None to infer it.
        y_range: Lowest and highest answer; None for the ratings in the source widened by half a step.
        split: Share of rows for validation in (0, 1), a split object, "time", "last", or None to train on everything.
        negatives: Items not taken that are drawn for each one taken, at least 1; without a rating only.
        duplicates: "error" to refuse rows of the same user and item, "last" to take the last of them, "keep" to take all.
        missing: "error" to refuse rows without an id or rating, or without a time that decides something, "drop" to leave
            them out and say how many.
        test: A table or file with test rows.
        predict: A table or file with pairs to predict; the rating may be missing.
        batch_size: Ratings a rank takes in one training step; negatives come on top.
        seed: Decides the split and, together with the epoch, the order of training rows and the negatives.
        schema: Facts to use in place of fitting new ones: `module.schema` of a trained module.
        encoding: Of a text file that is not UTF-8, such as "latin-1".
        verbose: Whether to print the schema and what was found.

    Raises:
        MissingFileError: No such file.
        MissingColumnsError: No such column.
        BadTypeError: Ids that are no ids, or a target that is no rating.
        BadValueError: The table cannot be trained on as it is; the sentence says what to do.

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
        verbose: bool = True,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, verbose=verbose)
        check_names(user, item, rating, timestamp=timestamp, title=title)
        check_settings(rating, task, y_range, negatives)
        self.user, self.item, self.rating, self.negatives = user, item, rating, negatives
        self.duplicates, self.missing = duplicates, missing
        self.encoding = encoding
        divide = ratings_split(split, user, timestamp) if isinstance(split, str) else as_split(split, stratify=False)
        self.frame = self._whole(divide.gather(self._read(source, schema), encoding=encoding), timestamp)
        kept = self._kept(self.frame, self._deciding(timestamp, split))
        check_several(self.frame.iloc[kept], user, item)
        parts = divide_kept(divide, self.frame, kept, seed=seed)
        if schema is None:
            training = self.frame.iloc[parts.train]
            schema = self._fit(training, task, y_range, self._titles(titles, title), title)
        else:
            check_schema(schema, user, item, rating)
        self.schema = schema
        self._fill(parts, {"test": test, "predict": predict})
        self._say(self.summary(), *self._remarks())

    def known_pairs(self) -> Tensor:
        """Codes of user and item of every pair in the source, (2, P) int32; those that training lacks are left out."""
        pairs = self._codes[self._own_rows]
        return pairs[(pairs > 0).all(dim=1)].T.contiguous()

    def training_pairs(self) -> Tensor:
        """Codes of user and item of the training pairs, (2, P) int32."""
        return self._codes[self.parts["train"].rows].T.contiguous()

    @speaking()
    def held_out_pairs(self, part: PartName = "val") -> Tensor:
        """Codes of user and item of the pairs in a part that were taken, (2, P) int32; drawn negatives are left out."""
        check_part(self.parts, part)
        tensors, rows = self.parts[part]
        pairs = tensors["categorical"][rows]
        if self.rating is None:
            pairs = pairs[tensors["target"][rows] == 1]
        return pairs.T.contiguous()

    @override
    def baseline(self) -> dict[str, float]:
        """As for every datamodule; without a rating there is none, since all training pairs were taken."""
        return {} if self.rating is None else super().baseline()

    @override
    def train_dataloader(self) -> TensorLoader | NegativeLoader:  # type: ignore[override]  # the same batches, with more rows
        loader = self.loader("train")
        if self.rating is not None:
            return loader
        return NegativeLoader(loader, self._sampler(self.training_pairs()), self.negatives)

    def _read(self, source: Source, schema: Schema | None) -> pd.DataFrame:
        text = () if schema is None else schema.text_columns
        table = read_table(source, encoding=self.encoding, text=text)
        self._say(*table.notes)
        return table.frame

    def _whole(self, frame: pd.DataFrame, timestamp: str | None = None) -> pd.DataFrame:
        """The frame with its columns there, and whole ids."""
        others = [name for name in (self.rating, timestamp) if name is not None]
        check_present(frame, [self.user, self.item, *others])
        frame, notes = with_whole_ids(frame, [self.user, self.item])
        self._say(*notes)
        return frame

    def _deciding(self, timestamp: str | None, split: RatingsSplit) -> str | None:
        """The column of times if it decides anything."""
        if timestamp is None or isinstance(split, str) or self.duplicates == "last":
            return timestamp
        self._say(f'Column {timestamp!r} of times is not used: it serves split="time" or "last", or duplicates="last".')
        return None

    def _kept(self, frame: pd.DataFrame, timestamp: str | None) -> NDArray[np.int64]:
        """Rows without gaps and without a later row of the same pair."""
        needed = [name for name in (self.user, self.item, self.rating, timestamp) if name is not None]
        rows, gaps = complete_rows(frame, needed, self.missing)
        if timestamp is not None and self.duplicates == "last":
            rows = in_time(frame, rows, timestamp)
        rows, repeats = without_duplicates(frame, rows, (self.user, self.item), self.duplicates)
        self._say(*gaps, *repeats)
        return np.sort(rows)

    def _titles(self, titles: Source | None, title: str | None) -> pd.DataFrame | None:
        if titles is not None:
            return self._read(titles, None)
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
            names, notes = titles_of(items, titles, title or "title")
            items = Categorical(name=items.name, source=items.source, vocabulary=items.vocabulary, titles=names)
            self._say(*notes)
        if self.rating is None:
            taken = f"No rating: each row means that {self.user!r} took {self.item!r}"
            self._say(f"{taken}; {self.negatives} not taken are drawn beside each. Override with rating, negatives.")
            return Schema(target=IMPLICIT_TARGET, categorical=(users, items))
        scale = self.frame[self.rating].dropna()
        target, sentence = ratings_target(training, self.rating, task, y_range, scale)
        self._say(sentence)
        return Schema(target=target, categorical=(users, items))

    def _fill(self, parts: Parts, sources: dict[PartName, Source | None]) -> None:
        """Prepares the tensors of every part."""
        self._codes = self._code(self.frame)
        own: dict[PartName, NDArray[np.int64]] = {"train": parts.train, "val": parts.validation, "test": parts.test}
        rows = np.concatenate([*own.values()])
        self._own_rows = torch.from_numpy(rows)
        tensors = self._with_target(self.frame, self._codes, rows)
        self.parts = {name: Part(tensors, torch.from_numpy(rows)) for name, rows in own.items() if len(rows)}
        self._say(*self._outside(parts))
        for name, source in sources.items():
            if source is not None:
                self.parts[name] = self._given(name, self._read(source, self.schema))
        if self.rating is None:
            self._add_negatives()

    def _given(self, name: PartName, frame: pd.DataFrame) -> Part:
        """A part from a source of its own. Ids may be missing: the unknown user or item answers."""
        needs_rating = name == "test" and self.rating is not None
        check_present(frame, [self.user, self.item, *([str(self.rating)] if needs_rating else [])])
        frame, notes = with_whole_ids(frame, [self.user, self.item])
        self._say(*notes)
        codes, rows = self._code(frame), np.arange(len(frame), dtype=np.int64)
        if name != "test":
            return Part({"categorical": codes}, torch.from_numpy(rows))
        if needs_rating:
            rows, notes = complete_rows(frame, [str(self.rating)], self.missing)
            self._say(*notes, *out_of_range(frame.iloc[rows], self.schema.target, name))
        return Part(self._with_target(frame, codes, rows), torch.from_numpy(rows))

    def _code(self, frame: pd.DataFrame) -> Tensor:
        """(N, 2) int32 codes; 0 for users and items that training lacks."""
        return torch.from_numpy(to_arrays(self.schema, frame)[1])

    def _with_target(self, frame: pd.DataFrame, codes: Tensor, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """The tensors of a part; rows that nothing visits have a target of zeros."""
        if self.rating is None:
            return {"categorical": codes, "target": torch.ones(len(codes), dtype=torch.int64)}
        target = encode_kept(frame, self.schema.target, np.sort(rows))
        return {"categorical": codes, "target": torch.from_numpy(target)}

    def _sampler(self, pairs: Tensor) -> NegativeSampler:
        users, items = self.schema.categorical
        sizes = {"num_users": len(users.vocabulary), "num_items": len(items.vocabulary)}
        return NegativeSampler(pairs[0].numpy(), pairs[1].numpy(), seed=self.seed, **sizes)

    def _add_negatives(self) -> None:
        """Gives validation and test rows pairs that were not taken; those of the source go to the end of the frame."""
        everything = [self.known_pairs(), *(part.tensors["categorical"].T for part in self.parts.values())]
        sampler = self._sampler(torch.cat(everything, dim=1))
        if full := sampler.num_full():
            self._say(f"Note: {count(full, 'user')} took every item, so what is drawn beside them was taken as well.")
        evaluated: dict[PartName, Part] = {name: self.parts[name] for name in ("val", "test") if name in self.parts}
        own = {name: part.rows for name, part in evaluated.items() if part.tensors["categorical"] is self._codes}
        for name, (tensors, rows) in evaluated.items():
            if name not in own:
                self.parts |= with_negatives(tensors["categorical"], {name: rows}, sampler, self.negatives)[1]
        items, parts = with_negatives(self._codes, own, sampler, self.negatives)
        self.parts |= parts
        rows = torch.cat([*own.values(), torch.empty(0, dtype=torch.int64)]).repeat_interleave(self.negatives)
        self.frame = with_drawn_rows(
            self.frame, (self.user, self.item), rows, items, self.schema.categorical[1].vocabulary
        )

    def _outside(self, parts: Parts) -> list[str]:
        """Sentences about held-out ratings that no answer reaches."""
        if self.rating is None:
            return []
        held_out = {"validation": self.frame.iloc[parts.validation], "test": self.frame.iloc[parts.test]}
        return [note for name, frame in held_out.items() for note in out_of_range(frame, self.schema.target, name)]

    def _remarks(self) -> list[str]:
        """A sentence for each part with users or items that training lacks."""
        notes = []
        for name, (tensors, rows) in self.parts.items():
            if name != "train":
                unknown = (tensors["categorical"][rows] == 0).sum(dim=0).tolist()
                notes += [
                    f"{name}: {number:,} of {count(len(rows), 'row')} with {role} that training lacks, answered as for an "
                    "average one."
                    for number, role in zip(unknown, ("a user", "an item"), strict=True)
                    if number
                ]
        return notes
