"""A Trainer on the CPU that prints nothing and logs nothing, and checkpoints of modules as they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

MakeTrainer = Callable[..., pl.Trainer]
"""What the fixture `quick_trainer` gives."""


def quiet_trainer(**settings: Any) -> pl.Trainer:
    """A Trainer for one epoch; any argument of `pl.Trainer` may be given, and wins."""
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "enable_checkpointing": False,
        "enable_model_summary": False,
        "enable_progress_bar": False,
        "logger": False,
        "max_epochs": 1,
    }
    return pl.Trainer(**(quiet | settings))


def saved(module: pl.LightningModule, path: Path) -> Path:
    """The checkpoint of a module that was never trained."""
    trainer = quiet_trainer(default_root_dir=path.parent)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path)
    return path
