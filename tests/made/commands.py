"""Commands without a start of Python: parsed and run here, or run in a fork of this process."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import IO, Any, Self

from tabvision.cli import build_parser


def run(command: ModuleType, *words: object) -> Any:
    """Parses the words after the command's own, runs it and returns its exit status, if it has one."""
    name = command.__name__.rpartition(".")[2].replace("_", "-")
    return command.run(build_parser().parse_args([name, *map(str, words)]))


class Forked:
    """A function in a fork of this process, which has imported what it needs.

    Args:
        function: What to run; what it returns is the exit status.
        args: Its arguments.
        stdin: What it reads.
        stdout: Where it writes, if not to a file of its own.
    """

    def __init__(
        self,
        function: Callable[..., object],
        *args: object,
        stdin: IO[Any] | None = None,
        stdout: IO[Any] | None = None,
    ) -> None:
        self._files = [tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2)]  # noqa: SIM115 - until `ended`
        streams = [stdin, stdout or self._files[0], self._files[1]]
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=_run, args=(streams, function, args))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            self.process.start()

    def ended(self, seconds: float = 600) -> tuple[int | None, str, str]:
        """Waits for its end, and returns the exit status, below zero for a signal, and what it wrote and complained of."""
        self.process.join(seconds)
        self.process.kill()  # what hangs
        self.process.join()
        told = []
        for file in self._files:
            file.seek(0)
            told.append(file.read())
            file.close()
        return self.process.exitcode, told[0], told[1]

    def interrupt(self) -> Self:
        """Presses Ctrl-C."""
        os.kill(self.process.pid or 0, signal.SIGINT)
        return self


def _run(streams: list[IO[Any] | None], function: Callable[..., object], args: tuple[object, ...]) -> None:
    gc.freeze()  # as in `processes`
    for number, stream in enumerate(streams):
        if stream is not None:
            os.dup2(stream.fileno(), number)
    sys.stdout, sys.stderr = (open(number, "w", 1, "utf-8", closefd=False) for number in (1, 2))  # noqa: SIM115
    faulthandler.enable()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    sys.exit(function(*args))  # type: ignore[arg-type]  # a status, or None
