"""One command by itself, as the command line parses it."""

from __future__ import annotations

import argparse
from types import ModuleType


def run(command: ModuleType, *words: object) -> None:
    """Parses the words after the command's own and runs it."""
    parser = argparse.ArgumentParser()
    name = command.__name__.rpartition(".")[2]
    getattr(command, f"add_{name}")(parser.add_subparsers())
    arguments = parser.parse_args([name, *map(str, words)])
    arguments.run(arguments)
