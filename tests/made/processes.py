"""All that two gloo processes are asked: `python -m tests.made.processes FOLDER SCRIPT ...`.

To start them takes longer than what they do, so one pair does everything. `conftest.py` runs this once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.made import processes_pictures, processes_stages, processes_tables

Seen = tuple[dict[str, Any], dict[str, Any]]
"""What each of the two processes wrote down."""

SCRIPTS: dict[str, Callable[[Path], None]] = {
    "staged": processes_stages.main,  # first of all that are asked: its sweep of rates is what starts the other process
    "pictures": processes_pictures.main,
    "tables": processes_tables.main,  # last: it makes batches of validation smaller for good
}


def main(folder: Path, *names: str) -> None:
    """Runs the named scripts, each in a folder of its name."""
    for name in names:
        (folder / name).mkdir(exist_ok=True)
        SCRIPTS[name](folder / name)


def both_ranks(folder: Path) -> Seen:
    """What the two processes saved in a script's folder."""
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
