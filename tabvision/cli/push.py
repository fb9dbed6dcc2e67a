"""`tabvision push`: share a run on the Hugging Face hub, with a model card."""

from __future__ import annotations

import argparse

from tabvision.cli.arguments import Commands


def add_push(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("push", help="share a run on the Hugging Face hub, with a model card")
    parser.add_argument("run_folder", metavar="RUN", help="a folder that tabvision train wrote, such as runs/people")
    parser.add_argument("repo", metavar="USER/MODEL", help="the repository, which is created if it is not there")
    parser.add_argument("--private", action="store_true", help="create a private repository")
    parser.add_argument("--license", metavar="NAME", help="the license of the network, such as apache-2.0")
    parser.add_argument("--dry-run", action="store_true", help="print the card and the files, and upload nothing")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Upload the files and say how to ask the network."""
    from tabvision.errors import speaking
    from tabvision.hub import files_to_push, push

    with speaking("tabvision push"):
        if arguments.dry_run:
            files = files_to_push(arguments.run_folder, arguments.repo, license=arguments.license)
            print(files["README.md"].decode())
            print(f"Would upload {', '.join(f'{name} ({len(content):,} bytes)' for name, content in files.items())}.")
            return
        address = push(arguments.run_folder, arguments.repo, private=arguments.private, license=arguments.license)
    print(f"Shared. Ask it anywhere: tabvision predict {address} new_rows.csv")
