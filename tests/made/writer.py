"""What a process does that is killed while it writes."""

from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tabvision.callbacks.exact_resume import _AtomicCheckpointIO


def write_for_ever(path: Path, steps: Connection) -> None:
    """Writes one checkpoint over the other, and tells the step of each that is whole."""
    step = 0
    while True:
        _AtomicCheckpointIO().save_checkpoint({"step": step, "weights": torch.full((10_000_000,), float(step))}, path)
        steps.send(step)
        step += 1
