"""Run Lightning without its output."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytorch_lightning as pl


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Discard all output, including progress bars, which are still drawn."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with (
        Path(os.devnull).open("w", encoding="utf-8") as void,
        contextlib.redirect_stdout(void),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)


def quiet_trainer(epochs: int, *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:  # noqa: ANN401
    """Return a Trainer on one CPU that prints and saves nothing; any Trainer setting may be passed, and overrides these."""
    import pytorch_lightning as pl  # not at the top: this file is imported in the peers' environments too

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    silent: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    usual = {"accelerator": "cpu", "devices": 1, **silent}
    return pl.Trainer(max_epochs=epochs, callbacks=[*callbacks], **(usual | settings))
