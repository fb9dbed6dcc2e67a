"""Ask a checkpoint: raw rows or pictures in, the user's own labels out, with neither a Trainer nor a datamodule."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, cast, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.augment.settings import augmentation_named
from tabvision.batch import Batch
from tabvision.data.loaders import check_batch_size
from tabvision.data.tables.read import read_frame
from tabvision.data.tables.write import check_destination
from tabvision.data.targets import encode_target
from tabvision.errors import BadTypeError, BadValueError, speaking
from tabvision.inference.answers import answer_frame, check_finite, with_errors
from tabvision.inference.batches import Asked, AskedRows, blend
from tabvision.inference.calibration.fit import WHO as CALIBRATE
from tabvision.inference.calibration.fit import (
    Calibrated,
    Wanted,
    check_wanted,
    fit_calibration,
    save_calibrated,
)
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.files import Origin
from tabvision.inference.images import PictureInputs, Pictures, check_looks
from tabvision.inference.inputs import ATTRIBUTE, InputReader, Rows
from tabvision.modules import SupervisedModule

WHO = "Predictor"
Sources: TypeAlias = Rows | Pictures


@final
class Predictor:
    """Answers raw rows and pictures from a checkpoint alone, loaded safely.

    Safe to share between threads: it changes nothing once built, `calibrate` aside.

    Args:
        path: A checkpoint that a Trainer wrote: its path, an http or https address, or its bytes.
        device: "cpu", "cuda", "mps", or "auto" for the best there is.
        module_class: The class to build, for a module of the user's own.

    Raises:
        MissingFileError: No such file.
        BadValueError: Not a checkpoint, a damaged one, one that would run code, or one of another format.
    """

    @speaking()
    def __init__(
        self, path: Origin, *, device: str = "auto", module_class: type[SupervisedModule] | None = None
    ) -> None:
        opened = open_checkpoint(path, module_class)
        self.device = _device_named(device)
        self.module = opened.module.to(self.device)
        self.schema = self.module.schema
        self.calibration = opened.calibration
        self._origin = path
        self._rows = InputReader(self.schema)
        self._pictures: PictureInputs | None = None
        self._own_augmentation: str | None = opened.facts.get("own_augmentation")
        if self.schema.image is not None:
            augment = augmentation_named(opened.facts.get("augment", "light"))
            self._pictures = PictureInputs(self.schema, augment)

    @speaking()
    def predict(
        self,
        source: Sources,
        *,
        proba: bool = True,
        tta: int | None = None,
        use_max: bool = False,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """A frame of answers, in the order and with the index of the input.

        Classes: `label`, then `probability_<class>` for each class. Numbers: `prediction`, in the user's units. For a
        folder of pictures their paths come first. A picture that cannot be read keeps its row, without an answer; a last
        column `error` then says why. `attrs["unseen"]` of the frame tells how many rows held a category that training lacks,
        by column: `{}`, or such as `{"user": 3}`.

        Args:
            source: Rows: a frame, one row as a dict, a list of such rows, or the path of a CSV, Parquet or Feather file.
                Pictures: a folder, a file, a list of paths, bytes, PIL images or arrays (H, W, 3) uint8, or a table that
                names files.
            proba: Whether to add the probabilities, or the intervals.
            tta: For pictures: how many times each is looked at again, varied as in training; the answer is a quarter the
                plain view's and three quarters the others' mean.
            use_max: With `tta`, whether to take the largest number of all views instead.
            batch_size: Rows that go through the network at once; None for 2,048 rows of a table or 64 pictures.

        Raises:
            MissingColumnsError: A column that training had is not there.
            TabvisionError: Anything else that is wrong with the rows.
        """
        looks = check_looks(tta)
        asked = self._ask(source)
        size = check_batch_size(asked.default_batch_size if batch_size is None else batch_size)
        if looks and self._pictures is None:
            raise BadValueError(f"tta={tta} is for pictures, and this module reads rows", "Leave tta out")
        if looks and self._own_augmentation:
            without = f"{self._own_augmentation}, the augmentation of your own, which no checkpoint holds"
            logging.getLogger("tabvision").info(f"tta varies pictures as in training, but without {without}.")
        predictions = self._over(asked, size, self._activated)
        if looks:
            varied = [self._over(asked, size, self._activated, look) for look in range(1, looks + 1)]
            predictions = blend(predictions, np.stack(varied), use_max=use_max)
        return self._frame(asked, predictions, proba=proba)

    @speaking(CALIBRATE)
    def calibrate(
        self,
        source: Sources,
        *,
        out: str | Path | None = None,
        per_label: bool = False,
        metric: str | None = None,
        coverage: float | None = None,
        overwrite: bool = False,
    ) -> Calibrated:
        """Corrects this predictor's answers by rows with a known answer, and writes a checkpoint that does the same.

        Classes get a temperature, by request thresholds; numbers get intervals.

        Args:
            source: Rows that training did not see, with the target: a frame, a table file, or a folder of class folders.
            out: The new checkpoint; None to write none.
            per_label: For labels, whether each gets a temperature of its own.
            metric: For two classes and labels: "f1", "f2", "accuracy", "balanced_accuracy" or "youden" chooses
                thresholds; None leaves the task's.
            coverage: For numbers, the share of rows whose truth an interval is to hold, in (0, 1); None for 0.9.
            overwrite: Whether a file that is there may be replaced.

        Raises:
            BadValueError: A setting out of range or not for this task, or rows that calibrate nothing.
        """
        wanted = Wanted(per_label=per_label, metric=metric, **({} if coverage is None else {"coverage": coverage}))
        check_wanted(self.module.task, wanted)
        file = None if out is None else check_destination(out, suffixes=[".ckpt"], overwrite=overwrite)
        asked, frame = self._ask_labeled(source)
        target = encode_target(frame, self.schema.target)
        logits = self._over(asked, asked.default_batch_size, lambda found: found)
        readable = np.array([row not in asked.errors for row in range(asked.num_rows)], dtype=bool)
        fitted = fit_calibration(self.module.task, logits[readable], target[readable], wanted)
        self.calibration = fitted.calibration
        if file is not None:
            save_calibrated(self._origin, fitted.calibration, file)
        return fitted

    def _ask(self, source: Sources) -> Asked:
        if self._pictures is not None:
            return self._pictures(source)
        return AskedRows(self._rows(source))

    def _ask_labeled(self, source: Sources) -> tuple[Asked, pd.DataFrame]:
        """Rows with what is known of them."""
        if self._pictures is not None:
            asked = self._pictures.labeled(source)
            if asked.frame is None:
                problem = "calibrating needs the target of each picture"
                raise BadTypeError(problem, "Pass a folder of class folders, or a table with the target")
            return asked, asked.frame
        text = self.schema.text_columns
        frame = source if isinstance(source, pd.DataFrame) else read_frame(source, text=text)
        return AskedRows(self._rows(frame)), frame

    def _activated(self, logits: Tensor) -> Tensor:
        return self.module.task.activate(self.calibration.scale(logits))

    def _over(
        self, asked: Asked, batch_size: int, finish: Callable[[Tensor], Tensor], look: int = 0
    ) -> NDArray[np.floating[Any]]:
        """What the module says of all rows, (num_rows, C); not a number where a row could not be read."""
        found: list[tuple[NDArray[np.int64], NDArray[np.floating[Any]]]] = []
        in_user_units = self.module.task.in_user_units
        with torch.inference_mode():
            for rows, batch in asked.batches(batch_size, look):
                if len(rows):
                    moved = self._moved(batch)
                    answers = in_user_units(finish(self.module(moved).float()), moved.get("view"))
                    found.append((rows, check_finite(answers.cpu().numpy())))
        if len(found) == 1 and len(found[0][0]) == asked.num_rows:
            return found[0][1]
        width = found[0][1].shape[1] if found else self._width(finish)
        whole = np.full((asked.num_rows, width), np.nan, dtype=found[0][1].dtype if found else np.float32)
        for rows, values in found:
            whole[rows] = values
        return whole

    def _moved(self, batch: Batch) -> Batch:
        if self.device.type == "cpu":
            return batch
        return cast("Batch", {name: cast("Tensor", value).to(self.device) for name, value in batch.items()})

    def _width(self, finish: Callable[[Tensor], Tensor]) -> int:
        """Numbers in an answer, where there is none to count them in."""
        return finish(torch.zeros(1, self.module.task.num_outputs, device=self.device)).shape[1]

    def _frame(self, asked: Asked, predictions: NDArray[Any], *, proba: bool) -> pd.DataFrame:
        answers = answer_frame(self.schema, predictions, proba=proba, calibration=self.calibration)
        answers = with_errors(answers, asked.errors)
        for place, (name, values) in enumerate(asked.shown.items()):
            answers.insert(place, name, values)
        if asked.index is not None:
            answers.index = asked.index
        answers.attrs[ATTRIBUTE] = dict(asked.unseen)
        return answers


def _device_named(name: str) -> torch.device:
    """The device of that name, once it has held a number."""
    try:
        device = torch.device(_best_device() if name == "auto" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        problem = f"there is no device {name!r} here ({str(error).splitlines()[0].rstrip('.')})"
        raise BadValueError(problem, 'Pass "auto" for the best there is, or "cpu"') from error
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
