"""`tabvision export`: write a checkpoint as one file that runs without torch, or with torch alone."""

from __future__ import annotations

import argparse

from tabvision.cli.arguments import Commands, add_shared


def add_export(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("export", help="write a checkpoint as an ONNX or .pt2 file")
    add_shared(parser, "checkpoint")
    parser.add_argument(
        "--out", metavar="FILE", required=True, help="model.onnx, or model.pt2 for torch.export's format"
    )
    add_shared(parser, "--overwrite")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Write the file once its answers agree with the checkpoint's."""
    from tabvision.inference import export

    done = export(arguments.checkpoint, arguments.out, overwrite=arguments.overwrite)
    agreement = f"its answers differ from the checkpoint's by {done.largest_error:.1g} at most"
    print(f"{done.num_bytes:,} bytes written, {agreement}: {done.path}")
    if done.path.suffix == ".onnx":
        print(f"Ask it without torch: tabvision.inference.OnnxPredictor({str(done.path)!r}).predict(rows)")
