"""tabvision under a normal Trainer, with its defaults."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.peer_runs.protocol import main


def run(spec: dict[str, Any]) -> tuple[list[float], int, Any]:
    import pandas as pd
    import pytorch_lightning as pl
    from pytorch_lightning.callbacks import TQDMProgressBar
    from pytorch_lightning.loggers import CSVLogger

    from benchmarks.clock import TrainingClock
    from tabvision.callbacks import OneCycle
    from tabvision.data import ColumnSplit, TabularDataModule
    from tabvision.inference import gather
    from tabvision.modules import TabularModule

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    pl.seed_everything(spec["seed"], verbose=False)
    data = TabularDataModule(
        pd.read_csv(spec["csv"]),
        spec["target"],
        categorical=spec["categorical"],
        continuous=spec["continuous"],
        split=ColumnSplit("part"),
        batch_size=spec["batch_size"],
        seed=spec["seed"],
        verbose=False,
    )
    clock = TrainingClock()
    with tempfile.TemporaryDirectory() as scratch:
        trainer = pl.Trainer(
            max_epochs=spec["epochs"],
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(scratch),
            callbacks=[clock, OneCycle(), TQDMProgressBar(refresh_rate=10)],
            enable_model_summary=False,
        )
        model = TabularModule(data.schema, net="mlp", dropout=spec["dropout"])
        trainer.fit(model, data)
        predictions = gather(trainer.predict(model, data.val_dataloader()))["predictions"]
    return clock.epoch_seconds, len(data.parts["train"].rows), predictions[:, -1].numpy()


if __name__ == "__main__":
    main(["tabvision"], run)
