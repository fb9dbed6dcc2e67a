"""Predict raw rows or images with a checkpoint, in the user's own labels, without a Trainer or datamodule."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision.augment.settings import augmentation_named
from tabvision.batch import Batch
from tabvision.checks import check_whole
from tabvision.data.tables.text_file import TextFormat, first_line
from tabvision.data.tables.write import check_destination
from tabvision.data.targets import encode_target
from tabvision.errors import BadTypeError, BadValueError, count, listed, speaking
from tabvision.inference.answers import answer_frame, assemble_answers
from tabvision.inference.batches import Arrays, Inputs, blend, predict_all
from tabvision.inference.calibration.fit import Calibrated, check_settings, fit_calibration, save_calibrated
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.inference.files import Origin
from tabvision.inference.inputs import InputReader, Source, notes_on_unseen
from tabvision.inference.results import Results, with_images
from tabvision.modules.network import SchemaNetwork

if TYPE_CHECKING:
    from tabvision.modules import SupervisedModule

DTYPES = {
    "index": torch.int64,
    "fold": torch.int64,
    "continuous": torch.float32,
    "categorical": torch.int64,
    "image": torch.uint8,
    "has_image": torch.float32,
    "features": torch.float32,
    "view": torch.float32,
}
TABLE_INPUTS = ("continuous", "categorical")  # in every batch, even without columns


@final
class Predictor:
    """Predict raw rows and images with only a checkpoint, which is loaded safely, or with a module in memory.

    It is safe to share between threads, since only `calibrate` changes its state, and can be pickled for worker processes.

    Args:
        path: A checkpoint that a Trainer wrote: its path, an http or https URL, or its bytes; or a module, which is copied,
            so that its training can continue.
        device: "cpu", "cuda", "mps", or "auto" for the best available.
        module_class: The class of your own module.
        own: Your own objects, which a checkpoint cannot hold, as they were passed to the module, such as `body=`; or the
            class of your own task, `task=`.

    Raises:
        MissingFileError: The file does not exist.
        BadValueError: The file is not a checkpoint, is damaged, would run code, has another format, or was trained with one
            of your own objects that was not passed.
    """

    @speaking()
    def __init__(
        self,
        path: Origin | SupervisedModule,
        *,
        device: str = "auto",
        module_class: type[SupervisedModule] | None = None,
        **own: Any,  # noqa: ANN401 - a network, a task, a function
    ) -> None:
        opened = open_checkpoint(path, module_class, **own)
        try:
            best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
            self.device = torch.device(best if device == "auto" else device)
            torch.empty(1, device=self.device)  # raise if the device cannot be used
        except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
            problem = f"device {device!r} cannot be used here ({first_line(error)})"
            raise BadValueError(problem, 'Pass "auto" for the best available, or "cpu"') from error
        self._opened, self.net = opened, opened.net.to(self.device)
        self._inference_net = self.net.for_inference()
        self.schema = self.net.schema
        self.calibration = opened.calibration
        self._origin = None if isinstance(path, SchemaNetwork) else path
        self._own_augmentation: str | None = opened.facts.get("own_augmentation")
        augment = None if self.schema.image is None else augmentation_named(opened.facts.get("augment", "light"))
        self._read = InputReader(self.schema, augment)

    @property
    def module(self) -> SupervisedModule:
        """The LightningModule, which shares the weights; Lightning is imported on first access."""
        self._inference_net = self.net  # its weights may change from now on
        return self._opened.module

    @speaking()
    def read(self, source: Source, **form: Unpack[TextFormat]) -> Inputs:
        """Return the inputs of the module for a source, to pass to `predict`; `frame` holds the table that was read.

        Args:
            source: As for `predict`.
            form: How a text file is written: `encoding=`, `sep=`, `names=` and `na_values=`, as for a datamodule; by default
                the words for missing values are those used in training.

        Raises:
            MissingColumnsError: A column of the training rows is missing.
            TabvisionError: The rows are invalid in another way.
        """
        return self._read(source, **form)

    @speaking()
    def predict(
        self,
        source: Source | Inputs,
        *,
        proba: bool = True,
        tta: int | None = None,
        use_max: bool = False,
        uncertainty: bool = False,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """Return a frame of answers, in the order and with the index of the input.

        Classes: `label`, then `probability_<class>` for each class. Numbers: `prediction`, in the user's units. For a
        folder of images, their paths come first. An unreadable image gets a row without an answer, and a last column
        `error` that says why. The frame's `attrs["unseen"]` counts by column, as in `{"user": 3}`, the rows with a category
        that was not in training, text instead of a number, or a date with a time zone although training had none (or the
        reverse). `attrs["outside"]` counts those with a number or date outside the training range by more than a tenth of
        that range.

        Args:
            source: Rows: a frame, one row as a dict, a list of such rows, or the path of a CSV, Parquet,
                Feather or Excel file, or several: a list, "new/*.csv", a folder.
                Images: a folder, a file, a list of paths, bytes, PIL images or arrays (H, W, 3) uint8, or a table that
                names files. If the module reads both: such a table, with its other columns. Or the result of `read`.
            proba: Whether to add the probabilities, or the intervals.
            tta: For images, the number of augmented views of each, as in training; the plain view's prediction counts one
                quarter and the mean of the augmented views three quarters.
            use_max: With `tta`, whether to take the largest value over all views instead.
            uncertainty: Whether to add a column `uncertainty` (`uncertainty_<target>` for several numbers): the standard
                deviation, over the network's members, of the number or of the label's probability (the largest one if there
                are several labels). It can rank rows, but is not an interval.
            batch_size: Rows in a batch of the network; None for 2,048 rows of a table or 64 images.

        Raises:
            MissingColumnsError: A column of the training rows is missing.
            BadValueError: The uncertainty was requested, but the network has a single member.
            TabvisionError: The rows are invalid in another way.
        """
        if tta is not None:
            check_whole("tta", tta, 0, remedy="Pass 4, or None for the plain view alone")
        if batch_size is not None:
            check_whole("batch_size", batch_size, remedy="Pass a number such as 64")
        inputs = source if isinstance(source, Inputs) else self._read(source)
        if tta and inputs.images is None:
            raise BadValueError(f"tta={tta} is for images, and this module reads rows", "Leave tta out")
        if tta and self._own_augmentation:
            without = f"{self._own_augmentation}, your own augmentation, which a checkpoint cannot hold"
            logging.getLogger("tabvision").info(f"tta augments images as in training, but without {without}.")
        settings: dict[str, Any] = {"num_answers": self.net.task.num_predictions, "batch_size": batch_size}
        predictions = predict_all(self.answers, inputs, **settings)
        deviations = predict_all(self._deviations, inputs, **settings) if uncertainty else None
        if tta:
            augmented = [predict_all(self.answers, inputs, view=view, **settings) for view in range(1, tta + 1)]
            predictions = blend(predictions, np.stack(augmented), use_max=use_max)
        return assemble_answers(self.schema, inputs, predictions, self.calibration, proba=proba, deviations=deviations)

    @speaking("losses")
    def losses(self, source: Source, *, batch_size: int | None = None, **form: Unpack[TextFormat]) -> Results:
        """Return the predictions and losses of labeled rows, for `tabvision.interpret`; unreadable images are left out.

        Args:
            source: Rows with the target: a frame, a table file, or a folder of class folders.
            batch_size: Rows in a batch of the network; None for 2,048 rows of a table or 64 images.
            form: How a text file is written, as for `read`.

        Raises:
            BadTypeError: The images have no targets.
            TabvisionError: The rows are invalid in another way, such as a missing target.
        """
        inputs, task = self._read(source, **form, labeled=True), self.net.task
        frame = self._labeled_frame(inputs)
        target = encode_target(frame, self.schema.target)

        def predict(arrays: Arrays) -> NDArray[np.floating]:
            logits = self.logits(arrays)
            loss = task.loss(logits, self.encoded_target(target, arrays))
            answers = self._in_user_units(task.activate(logits), arrays)
            return torch.cat([answers, loss.to(answers.dtype).unsqueeze(1)], dim=1).cpu().numpy()

        with torch.inference_mode():
            found = predict_all(predict, inputs, num_answers=task.num_predictions + 1, batch_size=batch_size)
        rows = np.flatnonzero(_readable(inputs))
        parts = found[:, :-1], target, found[:, -1], self.calibration
        images = inputs.images if self.schema.is_of_images else None
        if inputs.images is not None and images is None:  # rows may be predicted again, and must find their images
            frame = with_images(frame, inputs.images.image.columns, inputs.images.sources)
        return Results(self.schema, frame, *parts, images=images).take(rows)

    @speaking("calibrate")
    def calibrate(
        self,
        source: Source,
        *,
        out: str | Path | None = None,
        per_label: bool = False,
        metric: str | None = None,
        coverage: float | None = None,
        overwrite: bool = False,
        **form: Unpack[TextFormat],
    ) -> Calibrated:
        """Calibrate this predictor on labeled rows, and write a calibrated checkpoint.

        Classes get a temperature, and thresholds if a metric is passed; numbers get intervals.

        Args:
            source: Rows not used in training, with the target: a frame, a table file, or a folder of class folders.
            out: The new checkpoint; None to write none.
            per_label: For labels, whether each gets its own temperature.
            metric: For two classes and labels, the metric that chooses thresholds: "f1", "f2", "accuracy",
                "balanced_accuracy" or "youden"; None for the task's threshold.
            coverage: For numbers, the fraction of rows whose true value lies in the interval, in (0, 1); None for 0.9.
            overwrite: Whether to replace an existing file.
            form: How a text file is written, as for `read`.

        Raises:
            BadValueError: A setting is out of range or not for this task, or no calibration can be fitted to the rows.
        """
        coverage = 0.9 if coverage is None else coverage
        settings: dict[str, Any] = {"per_label": per_label, "metric": metric, "coverage": coverage}
        check_settings(self.net.task, **settings)
        reads = [self._origin, source]
        file = None if out is None else check_destination(out, suffixes=[".ckpt"], overwrite=overwrite, reads=reads)
        if file is not None and self._origin is None:
            problem = "a module in memory has no checkpoint to write a calibrated copy of"
            raise BadValueError(problem, "Save it with a Trainer first and pass the path, or pass out=None")
        inputs = self._read(source, **form, labeled=True)
        target = encode_target(self._labeled_frame(inputs), self.schema.target)
        with torch.inference_mode():
            logits = predict_all(
                lambda arrays: self.net(self.batch(arrays)).float().cpu().numpy(),
                inputs,
                num_answers=self.net.task.num_outputs,
            )
        readable = _readable(inputs)
        fitted = fit_calibration(
            self.net.task, logits[readable], target[readable], **settings, earlier=self.calibration
        )
        self.calibration = fitted.calibration
        if file is not None and self._origin is not None:
            save_calibrated(self._origin, fitted.calibration, file)
        return fitted

    def _labeled_frame(self, inputs: Inputs) -> pd.DataFrame:
        """Return the rows with their targets, and log which have unseen values.

        Raises:
            BadTypeError: The rows are images without targets.
            BadValueError: The target's column holds a model's own answers.
        """
        if inputs.frame is None:
            remedy = "Pass a folder of class folders, or a table with the target"
            raise BadTypeError("images must have their targets, got only images", remedy)
        schema, width = self.schema, self.schema.task.num_predictions
        answers = answer_frame(schema, np.full((1, width), 1 / width)).columns
        for sentence in notes_on_unseen(schema, inputs):
            logging.getLogger("tabvision").info(sentence)
        own = [name for name in schema.target.columns if name in answers]
        if own and len(answers) > 1 and {*answers} <= {*inputs.frame.columns}:  # such as a run's predictions.csv
            others = listed([*answers[1:]])
            problem = f"column {own[0]!r} holds a model's answers, not the target (the rows also have {others})"
            raise BadValueError(problem, f"Pass rows whose {own[0]!r} is the target")
        return inputs.frame

    def batch(self, arrays: Arrays) -> Batch:
        """Convert one of `read(...).batches()` to tensors on the device."""
        num_rows = len(arrays["index"])
        batch: Any = {}
        of_weights = {"continuous": next(self.net.parameters()).dtype}  # 16 bits, for some modules in memory
        for name, dtype in (DTYPES | of_weights).items():
            if name in arrays:
                batch[name] = torch.from_numpy(arrays[name]).to(self.device, dtype)
            elif name in TABLE_INPUTS:
                batch[name] = torch.zeros(num_rows, 0, dtype=dtype, device=self.device)
        found: Batch = batch
        return found

    @torch.inference_mode()
    def logits(self, arrays: Arrays) -> Tensor:
        """Return the calibrated logits of one of `read(...).batches()`, (B, num_outputs), on the device."""
        logits: Tensor = self.calibration.scale(self._inference_net.answer_logits(self.batch(arrays)).float())
        return logits

    def encoded_target(self, target: NDArray[Any], arrays: Arrays) -> Tensor:
        """Return the target of a batch's rows, on the device.

        Args:
            target: The target of all rows, as `encode_target` returns it.
            arrays: The batch.
        """
        rows = target[arrays["index"]]
        rows = self.net.task.to_view(rows, arrays["view"], cut=False) if "view" in arrays else rows
        return torch.from_numpy(rows).to(self.device)

    @torch.inference_mode()
    def answers(self, arrays: Arrays) -> NDArray[np.floating]:
        """Return the predictions for a batch in the user's units: (B, C) probabilities or (B, T) numbers."""
        return self._in_user_units(self.net.task.activate(self.logits(arrays)), arrays).cpu().numpy()

    def _in_user_units(self, found: Tensor, arrays: Arrays) -> Tensor:
        view = torch.from_numpy(arrays["view"]).to(self.device, DTYPES["view"]) if "view" in arrays else None
        return self.net.task.in_user_units(found, view)

    @torch.inference_mode()
    def _deviations(self, arrays: Arrays) -> NDArray[np.floating]:
        """Return the standard deviation, over the network's members, of each prediction for a batch, (B, C)."""
        logits = self._inference_net.member_logits(self.batch(arrays)).float()
        if logits.shape[1] == 1:
            problem = "the uncertainty is how much the members of a network differ, and this one has a single member"
            raise BadValueError(problem, "Train a TabularModule with its default network, or a bag: --preset best")
        scaled = self.calibration.scale(logits.flatten(0, 1))
        members = self.net.task.activate(scaled).unflatten(0, logits.shape[:2])  # type: ignore[no-untyped-call]
        return np.asarray(members.std(1, correction=0).cpu())


def _readable(inputs: Inputs) -> NDArray[np.bool_]:
    """Return a mask of the rows with an answer, and log which images are missing; call it after all batches are read.

    Raises:
        BadValueError: No image can be read.
    """
    readable, log = np.ones(inputs.num_rows, dtype=np.bool_), logging.getLogger("tabvision")
    if errors := inputs.errors:
        readable[list(errors)] = False
        problem = f"{len(errors):,} of {count(inputs.num_rows, 'image')} cannot be read, first {errors[min(errors)]!r}"
        if not readable.any():
            raise BadValueError(problem, "Pass images that can be read, with their target")
        log.info(f"{problem}; they are left out.")
    for name, num in inputs.absent.items():
        log.info(f"{num:,} of {count(inputs.num_rows, 'row')} have no image in {name!r}.")
    return readable
