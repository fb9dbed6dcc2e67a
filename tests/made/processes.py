"""What two gloo processes are asked, forked from a test, or started as `python -m tests.made.processes SCRIPT FOLDER`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from torch.multiprocessing.spawn import start_processes

from tests.made import processes_features, processes_images, processes_stages, processes_tables, resumes, transfer

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 600  # a stop for what hangs
SCRIPTS: dict[str, Callable[[Path], None]] = {
    "features": processes_features.main,
    "images": processes_images.main,
    "resumes": resumes.main,
    "resumes, few": resumes.few,
    "stages": processes_stages.main,
    "tables": processes_tables.main,
    "transfer": transfer.main,
}
Seen = tuple[dict[str, Any], dict[str, Any]]
"""What each of the two processes wrote down."""


def on_two(script: str, folder: Path) -> Path:
    """Runs a script in two forks of this process, which need not import torch anew, and gives the folder where they wrote."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        start_processes(_rank, (script, folder, find_free_network_port()), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]
    return folder


def _rank(rank: int, script: str, folder: Path, port: int) -> None:
    # Lightning takes it for a process that somebody else has started
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    warnings.simplefilter("ignore")
    SCRIPTS[script](folder)


def started_on_two(script: str, folder: Path) -> Path:
    """Runs a script in a new process, of which Lightning starts the other, and gives the folder where they wrote."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.made.processes", script, str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # it and the process that it started
        process.wait()
        raise
    assert process.returncode == 0, errors[-4000:]
    return folder


def both_ranks(folder: Path) -> Seen:
    """What the two processes saved in a script's folder."""
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second


if __name__ == "__main__":
    SCRIPTS[sys.argv[1]](Path(sys.argv[2]))
