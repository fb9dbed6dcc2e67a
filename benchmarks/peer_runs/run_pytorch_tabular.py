"""pytorch-tabular's CategoryEmbeddingModel with the same layers, rate, optimizer and cycle as tabvision."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peer_runs.protocol import main, read_frames


def run(spec: dict[str, Any]) -> tuple[list[float], int, Any]:
    library: Any = importlib.import_module("pytorch_tabular")
    from benchmarks.clock import TrainingClock

    training, validation = read_frames(spec)
    clock = TrainingClock()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)  # it writes logs to the working folder
        model = library.TabularModel(**_settings(spec, len(training)), verbose=False, suppress_lightning_logger=True)
        model.fit(train=training, validation=validation, callbacks=[clock], seed=spec["seed"])
        answers = model.predict(validation.drop(columns=spec["target"]))
        os.chdir("/")
    column = f"{spec['target']}_yes_probability" if spec["metric"] == "auroc" else f"{spec['target']}_prediction"
    return clock.epoch_seconds, len(training), answers[column].to_numpy()


def _settings(spec: dict[str, Any], num_rows: int) -> dict[str, Any]:
    config: Any = importlib.import_module("pytorch_tabular.config")
    models: Any = importlib.import_module("pytorch_tabular.models")
    steps = spec["epochs"] * -(-num_rows // spec["batch_size"])
    return {
        "data_config": config.DataConfig(
            target=[spec["target"]], continuous_cols=spec["continuous"], categorical_cols=spec["categorical"]
        ),
        "model_config": models.CategoryEmbeddingModelConfig(
            task="classification" if spec["metric"] == "auroc" else "regression",
            layers="200-100",
            use_batch_norm=True,
            dropout=spec["dropout"],
            learning_rate=spec["lr"],
            seed=spec["seed"],
        ),
        "optimizer_config": config.OptimizerConfig(
            optimizer="AdamW",
            lr_scheduler="OneCycleLR",
            lr_scheduler_params={"max_lr": spec["lr"], "total_steps": steps + 1},
            lr_scheduler_interval="step",
        ),
        "trainer_config": config.TrainerConfig(
            batch_size=spec["batch_size"],
            max_epochs=spec["epochs"],
            accelerator="cpu",
            devices=1,
            early_stopping=None,
            checkpoints=None,
            load_best=False,
            progress_bar="none",
            seed=spec["seed"],
        ),
    }


if __name__ == "__main__":
    main(["pytorch-tabular", "pytorch-lightning"], run)
