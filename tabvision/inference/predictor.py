"""Ask a checkpoint: raw rows in, the user's own labels out, with neither a Trainer nor a datamodule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tabvision.batch import Batch
from tabvision.data.loaders import check_batch_size
from tabvision.data.sources import read_frame
from tabvision.errors import BadValueError
from tabvision.inference.answers import answer_frame
from tabvision.inference.checkpoint import load_module
from tabvision.modules import SupervisedModule
from tabvision.preprocess import RowEncoder, to_arrays

FEW_ROWS = 16  # up to here plain Python is quicker than a frame
BATCH_SIZE = 2048  # measured on CPUs: more no longer fits their caches
_COLUMN = (list, tuple, np.ndarray, pd.Series)  # a dict of these is a table, not one row
Rows: TypeAlias = pd.DataFrame | Mapping[str, object] | Sequence[Mapping[str, object]] | str | Path


@final
class Predictor:
    """Answers raw rows from a checkpoint alone, loaded safely.

    Safe to share between threads: it changes nothing once built.

    Args:
        path: A checkpoint that a Trainer wrote.
        device: "cpu", "cuda", "mps", or "auto" for the best there is.
        module_class: The class to build, for a module of the user's own.

    Raises:
        MissingFileError: No such file.
        BadValueError: Not a checkpoint, a damaged one, one that would run code, or one of a newer format.
    """

    def __init__(
        self, path: str | Path, *, device: str = "auto", module_class: type[SupervisedModule] | None = None
    ) -> None:
        self.device = _device_named(device)
        self.module = load_module(path, module_class).to(self.device)
        self.schema = self.module.schema
        self._encoder = RowEncoder(self.schema, who="Predictor")

    def predict(self, source: Rows, *, proba: bool = True, batch_size: int = BATCH_SIZE) -> pd.DataFrame:
        """A frame of answers, in the order and with the index of the input.

        Classes: `label`, then `probability_<class>` for each class. Numbers: `prediction`, in the user's units.

        Args:
            source: A frame, one row as a dict, a list of such rows, or the path of a CSV, Parquet or Feather file.
            proba: Whether to add the probabilities.
            batch_size: Rows that go through the network at once.

        Raises:
            MissingColumnsError: A column that training had is not there.
            TabvisionError: Anything else that is wrong with the rows.
        """
        batch_size = check_batch_size("Predictor", batch_size)
        if isinstance(source, Mapping) and not any(isinstance(value, _COLUMN) for value in source.values()):
            source = [source]
        if isinstance(source, list | tuple) and len(source) <= FEW_ROWS:
            continuous, categorical = self._encoder(source)
            index: Any = None
        else:
            frame = source if isinstance(source, pd.DataFrame) else read_frame(source, who="Predictor")
            continuous, categorical = to_arrays(self.schema, frame, who="Predictor")
            index = frame.index
        answers = answer_frame(self.schema, self._forward(continuous, categorical, batch_size), proba=proba)
        if index is not None:
            answers.index = index
        return answers

    def _forward(self, continuous: NDArray[Any], categorical: NDArray[Any], batch_size: int) -> NDArray[Any]:
        chunks = []
        with torch.inference_mode():
            for start in range(0, max(1, len(continuous)), batch_size):
                batch: Batch = {
                    "continuous": torch.from_numpy(continuous[start : start + batch_size]).to(self.device),
                    "categorical": torch.from_numpy(categorical[start : start + batch_size]).to(self.device).long(),
                }
                chunks.append(self.module.task.activate(self.module(batch).float()).cpu().numpy())
        return np.concatenate(chunks)


def _device_named(name: str) -> torch.device:
    """The device of that name, once it has held a number."""
    try:
        device = torch.device(_best_device() if name == "auto" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        problem = f"there is no device {name!r} here ({str(error).splitlines()[0].rstrip('.')})"
        raise BadValueError("Predictor", problem, 'Pass "auto" for the best there is, or "cpu"') from error
    return device


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
