"""Keeping the depths out of what a user reads: remarks that help nobody, and errors that are no sentence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from tabvision.errors import BadValueError, TabvisionError
from tabvision.lightning import MisconfigurationException

LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
REMARKS = (
    ".*exists and is not empty.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*deprecated.*",
    ".*dirpath has changed.*",  # as it should be: a recipe that is measured writes into a folder of its own
    ".*args parameter is intended to run from within Python.*",
)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keeps to itself what Lightning would say of the machine, the folder and the loader: a newcomer can do nothing of it."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for remark in REMARKS:
            warnings.filterwarnings("ignore", message=remark)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def built_in_a_sentence(command: str) -> Iterator[None]:
    """Turns what a Trainer says of the settings it is built with into a sentence.

    Args:
        command: Who speaks in an error.

    Raises:
        BadValueError: The settings are wrong.
    """
    try:
        yield
    except TabvisionError:
        raise
    except (ValueError, TypeError, MisconfigurationException) as error:
        problem = " ".join(str(error).split()).rstrip(".")
        raise BadValueError(
            command, problem, "Correct that setting; they are those of pytorch_lightning.Trainer"
        ) from error
