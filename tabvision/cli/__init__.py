"""The command line: thin commands over the parts that a script uses.

A command imports what it needs when it runs, so `tabvision --help` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from typing_extensions import override

from tabvision import __version__
from tabvision.cli.calibrate import add_calibrate
from tabvision.cli.check_images import add_check_images
from tabvision.cli.compare import add_compare
from tabvision.cli.demo import add_demo
from tabvision.cli.evaluate import add_evaluate
from tabvision.cli.export import add_export
from tabvision.cli.lr_find import add_lr_find
from tabvision.cli.predict import add_predict
from tabvision.cli.push import add_push
from tabvision.cli.recipes import add_recipes
from tabvision.cli.recommend import add_recommend
from tabvision.cli.report import add_report
from tabvision.cli.serve import add_serve
from tabvision.cli.train import add_train
from tabvision.cli.verify import add_verify
from tabvision.errors import TabvisionError, UnwritableFileError, closest, shown, too_long

_LIGHTNING_COMMANDS = {
    "fit": "train a recipe",
    "validate": "evaluate a recipe on its validation rows",
    "test": "evaluate a recipe on its test rows",
}
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_USAGE_ERROR = 2  # exit status for wrong input, the same as argparse's
_BROKEN_PIPE = 141  # the shell's status for a program whose output nobody reads on


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after `tabvision`; None means those of the process.

    Returns:
        The exit status: 0 for success; 1 if `check-images` found an image that cannot be read, `predict` answered none, or
        `verify` found a stretch that differs; 2 for wrong input or a full disk, which one sentence on standard error tells;
        130 after Ctrl-C; 141 if nobody reads the output any more, as after `| head`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a column's name may have letters that the terminal's encoding lacks
            stream.reconfigure(errors="backslashreplace")
    try:
        return _status_of(words)
    except BrokenPipeError:
        return _BROKEN_PIPE
    finally:
        _discard_what_was_not_written()


def _discard_what_was_not_written() -> None:
    """Empty the streams that take no output, as Python writes to them again at exit; see its documentation of SIGPIPE."""
    for stream in (sys.stdout, sys.stderr):
        try:
            print(end="", flush=True, file=stream)  # nothing where the stream is closed
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _status_of(words: list[str]) -> int:
    """Run one command and return its exit status, after one sentence if the input is wrong."""
    try:
        return _run(words)
    except TabvisionError as error:
        _say(str(error))
        return _USAGE_ERROR
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(str(_of_a_file(error)))
        return _USAGE_ERROR
    except KeyboardInterrupt as stop:
        _say(f"stopped; {stop}" if str(stop) else "stopped")
        return 130  # the shell's status for an interrupt


def _say(sentence: str) -> None:
    """Print a sentence, which may start with the command already, on standard error, unless that is full as well."""
    with suppress(OSError):
        print(sentence if sentence.startswith("tabvision ") else f"tabvision: {sentence}", file=sys.stderr)


def _run(words: list[str]) -> int:
    """Run one command, and write what it printed; return its exit status, 0 unless it says another."""
    try:
        if words and words[0] in _LIGHTNING_COMMANDS:
            _run_recipe([word for word in words if word != "--safe"], safe="--safe" in words)
            return 0
        arguments = build_parser().parse_args(words)
        return arguments.run(arguments) or 0
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


def _of_a_file(error: OSError) -> TabvisionError:
    """Return the sentence for a name that is too long, or for a disk that is full or read-only.

    It is about the first file of several, as closing the others fails as well, or about the wrong input before it.

    Raises:
        OSError: The error is another one.
    """
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) and not isinstance(before, SystemExit):
        chain.append(before)
    if error.errno == errno.ENAMETOOLONG:
        return too_long(error, "")
    if error.errno not in _DISK_ERRORS or not isinstance(chain[-1], OSError | TabvisionError):
        raise error
    told = [each for each in chain if isinstance(each, TabvisionError)]
    return told[-1] if told else UnwritableFileError(getattr(chain[-1], "filename", None), chain[-1])


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, and show long and unprintable words as the library's do."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: {shown(message)}. See {self.prog} --help.\n")

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse unknown words here, where the command and its options are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            close = closest(unknown[0].split("=")[0], list(self._option_string_actions))
            self.error(f"unknown {' '.join(unknown)}" + (f" (did you mean {close}?)" if close else ""))
        return found, unknown


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="tabvision",
        description="Train on tables, photos and ratings with PyTorch Lightning, and predict with the trained model.",
    )
    parser.add_argument("--version", action="version", version=f"tabvision {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_train(commands)
    add_predict(commands)
    add_recommend(commands)
    add_evaluate(commands)
    add_report(commands)
    add_compare(commands)
    add_verify(commands)
    add_calibrate(commands)
    add_export(commands)
    add_serve(commands)
    add_push(commands)
    add_recipes(commands)
    add_lr_find(commands)
    add_check_images(commands)
    add_demo(commands)
    for name, text in _LIGHTNING_COMMANDS.items():
        usage = f"tabvision {name} --config recipe.yaml; a recipe is a program, unless you add --safe"
        commands.add_parser(name, help=f"{text}: {usage}", add_help=False)
    return parser
