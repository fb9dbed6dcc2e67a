"""The protocol of a run: what it reads, times and returns. Needs only torch, numpy and pandas."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

NOT_INSTALLED = 3  # exit status
MODULES = {"scikit-learn": "sklearn"}  # packages whose module has a different name


def main(packages: Sequence[str], run: Callable[[dict[str, Any]], tuple[list[float], int, Any]]) -> None:
    """Train once.

    Args:
        packages: The packages that must be installed, the library itself first.
        run: A function from the spec to the seconds of each epoch, the training rows per epoch, and the predictions.
    """
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for name in packages:
        try:
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
        except ModuleNotFoundError as error:
            print(json.dumps({"missing": error.name}))
            raise SystemExit(NOT_INSTALLED) from None
    import numpy as np
    import torch

    # Lightning sets it to 1, which costs Adam 0.2 ms per step with a CUDA build of torch and no GPU; spare all of them that
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    torch.set_num_threads(spec["threads"])
    seconds, rows, predictions = run(spec)
    np.save(spec["predictions"], np.asarray(predictions, dtype=np.float64))
    found = {name: version(name) for name in (*packages, "torch", "pandas")}
    print(json.dumps({"epoch_seconds": seconds, "rows_per_epoch": rows, "versions": found}))


def read_frames(spec: dict[str, Any]) -> tuple[Any, Any]:
    """Return training and validation rows, with text as objects for libraries that accept nothing else."""
    import pandas as pd

    frame = pd.read_csv(spec["csv"])
    text = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.astype(dict.fromkeys(text, object))
    is_training = frame["part"] == "train"
    return tuple(frame[rows].drop(columns="part").reset_index(drop=True) for rows in (is_training, ~is_training))
