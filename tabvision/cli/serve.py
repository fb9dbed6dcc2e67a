"""`tabvision serve`: serve a checkpoint over HTTP, with a page to try it by hand."""

from __future__ import annotations

import argparse

from tabvision.cli.arguments import Commands, add_shared, whole


def add_serve(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="answer JSON rows or uploaded images over HTTP")
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, or an .onnx file from tabvision export")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8000, help="0 chooses a free one (default: 8000)")
    add_shared(parser, "--device")
    parser.add_argument("--max-rows", type=whole, default=1_000, help="rows or images in a request (default: 1000)")
    parser.add_argument("--max-megabytes", type=whole, default=16, help="size of a request (default: 16)")
    parser.add_argument(
        "--uncertainty", action="store_true", help="how far the network's members differ, in each answer"
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Serve until interrupted."""
    from tabvision.serving import Limits, serve

    limits = Limits(max_rows=arguments.max_rows, max_bytes=arguments.max_megabytes << 20)
    serve(
        arguments.checkpoint,
        host=arguments.host,
        port=arguments.port,
        device=arguments.device,
        limits=limits,
        uncertainty=arguments.uncertainty,
    )
