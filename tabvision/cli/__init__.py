"""The command line: thin commands on top of the parts that a script uses.

A command's file is imported when the command runs, so `tabvision --help` is fast.
"""

from __future__ import annotations

import errno
import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tabvision.cli.parser import LIGHTNING_COMMANDS, USAGE_ERROR, build_parser
from tabvision.errors import BadValueError, MissingFileError, TabvisionError, UnwritableFileError, too_long

__all__ = ["build_parser", "main"]

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_NOT_OPENED = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.ELOOP), "Check who may read it, or name another one"),
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ETIMEDOUT), "Check the disk or the network that it is on"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Allow more open files: ulimit -n 4096"),
}
_INTERRUPTED, _BROKEN_PIPE = 130, 141  # the shell's status after Ctrl-C, and for a program whose output pipe was closed


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after `tabvision`; None means those of the process.

    Returns:
        The exit status: 0 for success; 1 if `check-images` found an image that cannot be read, `predict` could read no
        image, `verify` found a stretch that differs, or `compare` a folder without a run; 2 for wrong input, a full disk or
        too little memory, with one sentence on standard error; 130 after Ctrl-C; 141 if the output pipe was closed,
        as after `| head`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # let torch's threads sleep while waiting: busy-waiting on cores in use by others makes training ten times as slow
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is loaded
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # the terminal's encoding may lack letters of a column's name
            stream.reconfigure(errors="backslashreplace")
    try:
        return _exit_status(words)
    finally:  # Python flushes both at exit: point a broken one to devnull, as Python's note on SIGPIPE says
        for stream in (sys.stdout, sys.stderr):
            try:
                print(end="", flush=True, file=stream)  # does nothing if the stream is closed
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit_status(words: list[str]) -> int:
    """Run one command and return its exit status; print one sentence if the input is wrong."""
    status = USAGE_ERROR
    try:
        return _run(words)
    except BrokenPipeError:
        return _BROKEN_PIPE
    except TabvisionError as error:
        sentence = str(error)  # may already start with the command
    except OSError as error:
        sentence = str(_file_error(error))
    except (MemoryError, RuntimeError) as error:
        sentence = str(_memory_error(error))
    except KeyboardInterrupt as stop:
        sentence, status = f"stopped; {stop}" if str(stop) else "stopped", _INTERRUPTED
    with suppress(OSError):  # standard error may be full as well
        print(sentence if sentence.startswith("tabvision ") else f"tabvision: {sentence}", file=sys.stderr)
    return status


def _memory_error(error: MemoryError | RuntimeError) -> TabvisionError:
    """Return the error to show when memory runs out; torch's own errors are RuntimeErrors.

    Raises:
        RuntimeError: The error has another cause.
    """
    reason = str(error).strip().split("\n")[0].rstrip(".")
    if type(error).__name__ == "OutOfMemoryError":  # torch's, on a GPU; torch may not be imported
        remedy = "Pass a smaller --batch-size or --size, or --precision bf16-mixed"
        return BadValueError(f"the GPU is out of memory: {reason}", remedy)
    if not isinstance(error, MemoryError) and "can't allocate memory" not in reason:
        raise error
    remedy = "Pass a smaller --batch-size or --size; a table larger than memory trains with --prepared FOLDER"
    return BadValueError(f"out of memory{f': {reason}' if reason else ''}", remedy)


def _run(words: list[str]) -> int:
    """Run one command, flush its output, and return its exit status, 0 by default."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise MissingFileError("the working folder has been removed", "Change to one that exists") from error
    try:
        if words and words[0] in LIGHTNING_COMMANDS:
            _run_recipe([word for word in words if word != "--safe"], safe="--safe" in words)
            return 0
        arguments = build_parser().parse_args(words)
        command = importlib.import_module(f"tabvision.cli.{arguments.command.replace('-', '_')}")
        return command.run(arguments) or 0
    finally:
        print(end="", flush=True)  # a closed pipe raises here, not when Python exits


def _run_recipe(words: list[str], *, safe: bool) -> None:
    if any(word.startswith("--config") for word in words):
        logging.getLogger("tabvision").info("Reading the recipe …")  # before the slow imports
    from tabvision.cli.safe import search_path

    with search_path(safe=safe):  # before the imports below: `python -m` looks for torch in the working folder first
        from tabvision.cli.lightning_cli import make_cli
        from tabvision.logs import quiet_lightning

        with quiet_lightning():
            make_cli(words, run=True, safe=safe)


def _file_error(error: OSError) -> TabvisionError:
    """Return the error to show for a file that cannot be opened, a name that is too long, or a full or read-only disk.

    It reports the first of several files, since closing the others fails too, or the wrong input that came before.

    Raises:
        OSError: The error has another cause.
    """
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and not isinstance(before, SystemExit):
        chain.append(before)
    if error.errno == errno.ENAMETOOLONG:
        return too_long(error, "")
    if error.errno not in (*_DISK_ERRORS, *_NOT_OPENED) or not isinstance(chain[-1], OSError | TabvisionError):
        raise error
    if error.errno in _NOT_OPENED:
        name = "a file" if error.filename is None else repr(str(error.filename))
        return BadValueError(f"{name} cannot be opened ({os.strerror(error.errno)})", _NOT_OPENED[error.errno])
    told = [each for each in chain if isinstance(each, TabvisionError)]
    return told[-1] if told else UnwritableFileError(getattr(chain[-1], "filename", None), chain[-1])
