"""fastai's tabular learner as in its documentation.

Its training loader drops the last, shorter batch and draws rows with replacement, so an epoch does not see every row.
"""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peer_runs.protocol import main, read_frames


def run(spec: dict[str, Any]) -> tuple[list[float], int, Any]:
    import numpy as np
    import pandas as pd

    fastai: Any = importlib.import_module("fastai.tabular.all")
    fastai.set_seed(spec["seed"])
    training, validation = read_frames(spec)
    is_classes = spec["metric"] == "auroc"
    table = fastai.TabularPandas(
        pd.concat([training, validation], ignore_index=True),
        procs=[fastai.Categorify, fastai.FillMissing, fastai.Normalize],
        cat_names=spec["categorical"],
        cont_names=spec["continuous"],
        y_names=spec["target"],
        y_block=fastai.CategoryBlock() if is_classes else fastai.RegressionBlock(),
        splits=(list(range(len(training))), list(range(len(training), len(training) + len(validation)))),
    )
    loaders = table.dataloaders(bs=spec["batch_size"])
    learner = fastai.tabular_learner(loaders, layers=[200, 100], config=fastai.tabular_config(ps=spec["dropout"]))
    clock = _clock(fastai)
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(spec["epochs"], spec["fastai_lr"], cbs=[clock])
        predictions = learner.get_preds(dl=loaders.valid)[0].numpy()
    rows = len(loaders.train) * spec["batch_size"]
    return clock.epoch_seconds, rows, np.asarray(predictions)[:, -1]


def _clock(fastai: Any) -> Any:  # noqa: ANN401 - fastai has no types
    """Return a callback that times each epoch's training, without validation."""

    class TrainingClock(fastai.Callback):  # type: ignore[misc]  # the base class is known only at run time
        """Seconds of each epoch's training batches."""

        epoch_seconds: list[float]

        def before_fit(self) -> None:
            """Start with no epochs."""
            self.epoch_seconds = []

        def before_train(self) -> None:
            """Note when an epoch's training starts."""
            self.started = time.perf_counter()

        def after_train(self) -> None:
            """Record how long it took."""
            self.epoch_seconds.append(time.perf_counter() - self.started)

    return TrainingClock()


if __name__ == "__main__":
    main(["fastai"], run)
