"""Notes to the user: sentences logged by `logging.getLogger("tabvision")` and printed to standard output.

A handler attached on import prints them, unless the user has added a handler that shows messages to this logger or to the
root. Only rank zero logs. The level is INFO unless the user has set one.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from typing_extensions import override

from tabvision.errors import shown

_RANK_VARIABLES = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # in Lightning's order
_LOGGERS = ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "lightning.fabric")
_USELESS_WARNINGS = (
    ".*exists and is not empty.*",
    ".*does not have many workers.*",
    ".*LeafSpec.*deprecated.*",
    ".*dirpath has changed.*",  # on purpose: measuring a recipe writes into a folder of its own
    ".*smaller than the logging interval.*",  # what is logged is of epochs
    ".*args parameter is intended to run from within Python.*",
)
_silenced: ContextVar[bool] = ContextVar("silenced", default=False)
_logger = logging.getLogger("tabvision")


@contextmanager
def notes_at(verbose: bool) -> Iterator[None]:  # noqa: FBT001 - `verbose` of the caller is passed on
    """Let notes through inside the block, or suppress messages up to INFO; warnings always pass.

    Args:
        verbose: Whether to let notes through; inside a silent block notes stay suppressed.

    Example:
        >>> with notes_at(False):
        ...     logging.getLogger("tabvision").info("12 columns of 3 kinds.")
    """
    token = _silenced.set(_silenced.get() or not verbose)
    try:
        yield
    finally:
        _silenced.reset(token)


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


class _Printer(logging.Handler):
    """Print each message to the current `sys.stdout`, unless another handler shows it."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        others = [*_logger.handlers, *(logging.getLogger().handlers if _logger.propagate else ())]
        is_shown = any(  # to the user, rather than written to a file or a buffer, as pytest's
            not isinstance(handler, logging.NullHandler | logging.FileHandler)
            and not isinstance(getattr(handler, "stream", None), io.StringIO)
            for handler in others
            if handler is not self
        )
        if not is_shown:
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
            # a name in a table may be thousands of letters
            lines = "\n".join(map(shown, self.format(record).split("\n")))
            print(lines.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _passes(record: logging.LogRecord) -> bool:
    """Return whether a message passes: from rank zero, as Lightning or the launcher sets it, and not suppressed."""
    lightning = sys.modules.get("lightning_utilities.core.rank_zero")
    known = getattr(getattr(lightning, "rank_zero_only", None), "rank", None)
    ranks = [known, *map(os.environ.get, _RANK_VARIABLES)]
    rank = next((int(rank) for rank in ranks if rank is not None), 0)
    return rank == 0 and not (_silenced.get() and record.levelno <= logging.INFO)


_logger.addFilter(_passes)
_logger.addHandler(_Printer())
if _logger.level == logging.NOTSET:
    _logger.setLevel(logging.INFO)
