"""`tabvision export`: write a checkpoint as one file that runs without torch, or with torch only."""

from __future__ import annotations

import argparse

from tabvision.errors import speaking
from tabvision.inference import export


@speaking("tabvision export")
def run(arguments: argparse.Namespace) -> None:
    """Write the file if its predictions agree with the checkpoint's."""
    done = export(arguments.checkpoint, arguments.out, overwrite=arguments.overwrite)
    agreement = f"its predictions differ from the checkpoint's by {done.largest_error:.1g} at most"
    print(f"{done.num_bytes:,} bytes written, {agreement}: {done.path}")
    if done.path.suffix == ".onnx":
        print(f"Predict without torch: tabvision.inference.OnnxPredictor({str(done.path)!r}).predict(rows)")
