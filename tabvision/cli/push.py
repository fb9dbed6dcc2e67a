"""`tabvision push`: share a run on the Hugging Face Hub, with a model card."""

from __future__ import annotations

import argparse

from tabvision.errors import speaking
from tabvision.hub import files_to_push, push


@speaking("tabvision push")
def run(arguments: argparse.Namespace) -> None:
    """Upload the files and print how to use the network."""
    if arguments.dry_run:
        files = files_to_push(arguments.folder, arguments.repo, license=arguments.license)
        print(files["README.md"].decode())
        print(f"Would upload {', '.join(f'{name} ({len(content):,} bytes)' for name, content in files.items())}.")
        return
    address = push(arguments.folder, arguments.repo, private=arguments.private, license=arguments.license)
    print(f"Uploaded. Use it anywhere: tabvision predict {address} new_rows.csv --out answers.csv")
