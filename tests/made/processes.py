"""What gloo processes are asked that are forked from a test."""

import gc
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from torch.multiprocessing.spawn import start_processes

from tests.made import (
    processes_elastic,
    processes_features,
    processes_images,
    processes_stages,
    processes_tables,
    resumes,
    transfer,
)

Script = Callable[[Path], object]
SCRIPTS: dict[str, Script] = {
    "elastic": processes_elastic.main,
    "elastic, few": processes_elastic.few,
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


def on_two(script: str | Script, folder: Path) -> Path:
    """Runs a script in two forks of this process, and gives the folder where they wrote."""
    return on_ranks(2, script, folder)


def on_ranks(ranks: int, script: str | Script, folder: Path) -> Path:
    """Runs a script in forks of this process, which need not import torch anew, and gives the folder where they wrote."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        start_processes(_rank, (script, folder, find_free_network_port(), ranks), nprocs=ranks, start_method="fork")  # type: ignore[no-untyped-call]
    return folder


def _rank(rank: int, script: str | Script, folder: Path, port: int, ranks: int) -> None:
    gc.freeze()  # to collect an ONNX session of the parent would wait forever for its threads, which a fork does not have
    # Lightning takes it for a process that somebody else has started
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["RANKS"] = str(ranks)
    warnings.simplefilter("ignore")
    (SCRIPTS[script] if isinstance(script, str) else script)(folder)


def both_ranks(folder: Path) -> Seen:
    """What the two processes saved in a script's folder."""
    first, second = (torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    return first, second
