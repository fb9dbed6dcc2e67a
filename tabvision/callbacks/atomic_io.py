"""Checkpoints that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, final

from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from typing_extensions import override


@final
class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there when it is whole.

    A process killed while writing leaves the checkpoint before, and a `.part` file that the next write replaces.
    """

    @override
    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        if "://" in str(path):  # a remote store has its own way to be atomic
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        part = f"{path}.part"
        super().save_checkpoint(checkpoint, part, storage_options)
        with Path(part).open("rb") as written:
            os.fsync(written.fileno())
        Path(part).replace(path)
