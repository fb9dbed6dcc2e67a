"""`tabvision serve`: serve a checkpoint over HTTP, with a web page to try it by hand."""

from __future__ import annotations

import argparse

from tabvision.errors import speaking
from tabvision.serving import Limits, serve


@speaking("tabvision serve")
def run(arguments: argparse.Namespace) -> None:
    """Serve until interrupted."""
    limits = Limits(max_rows=arguments.max_rows, max_bytes=arguments.max_megabytes << 20)
    serve(
        arguments.checkpoint,
        host=arguments.host,
        port=arguments.port,
        device=arguments.device,
        limits=limits,
        uncertainty=arguments.uncertainty,
    )
