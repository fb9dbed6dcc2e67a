"""Lightning without its remarks."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Sends what is drawn and said into the void; it is drawn all the same."""
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
