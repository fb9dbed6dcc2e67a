"""Silence Lightning's messages that do not help a user, and reword its errors as one sentence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tabvision.errors import BadValueError, TabvisionError
from tabvision.lightning import MisconfigurationException

_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
_USELESS_WARNINGS = (
    ".*exists and is not empty.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*deprecated.*",
    ".*dirpath has changed.*",  # on purpose: measuring a recipe writes into a folder of its own
    ".*args parameter is intended to run from within Python.*",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence what Lightning logs about the machine, the folder and the loader inside the block."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for pattern in _USELESS_WARNINGS:
            warnings.filterwarnings("ignore", message=pattern)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def reworded_trainer_errors(speaker: str) -> Iterator[None]:
    """Turn a Trainer's errors about its settings into one sentence.

    Args:
        speaker: The name that starts the sentence.

    Raises:
        BadValueError: The settings are wrong.
    """
    try:
        yield
    except TabvisionError:
        raise
    except (ValueError, TypeError, MisconfigurationException) as error:
        problem = " ".join(str(error).split()).rstrip(".")
        remedy = "Correct that setting; they are those of pytorch_lightning.Trainer"
        raise BadValueError(speaker, problem, remedy) from error
