"""The command line: thin commands over the same parts that a script uses.

Nothing heavy is imported before a command is known, so `tabvision --help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tabvision import __version__
from tabvision.cli import calibrate, check_images, demo, export, lr_find, predict, recommend, serve, train
from tabvision.errors import TabvisionError

LIGHTNING_COMMANDS = {
    "fit": "train a recipe",
    "validate": "evaluate a recipe on its validation rows",
    "test": "evaluate a recipe on its test rows",
}
USAGE_ERROR = 2  # exit status for wrong input, as argparse's own


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The words after `tabvision`; None takes the process's own.

    Returns:
        The exit status: 0 for success, 2 for wrong input, said in one sentence on standard error.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # so that `datamodules.…` in a recipe resolves
    try:
        if words and words[0] in LIGHTNING_COMMANDS:
            from tabvision.cli.recipe import run_recipe

            run_recipe(words)
        else:
            arguments = build_parser().parse_args(words)
            arguments.run(arguments)
    except TabvisionError as error:
        said = str(error)  # a command names itself, the library its class
        print(said if said.startswith("tabvision ") else f"tabvision: {said}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("tabvision: stopped", file=sys.stderr)
        return 130  # the shell's status for an interrupt
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="tabvision",
        description="Train on tables, photos and ratings with PyTorch Lightning, and ask the trained model.",
    )
    parser.add_argument("--version", action="version", version=f"tabvision {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (train, predict, recommend, calibrate, export, serve, lr_find, check_images, demo):
        command.add_parser(commands)
    for name, text in LIGHTNING_COMMANDS.items():
        commands.add_parser(name, help=f"{text}: tabvision {name} --config recipe.yaml", add_help=False)
    return parser
