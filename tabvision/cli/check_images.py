"""`tabvision check-images`: which pictures of a folder cannot be read, before training finds out."""

from __future__ import annotations

import argparse
from typing import Any

SHOWN = 20


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("check-images", help="find the pictures of a folder that cannot be read")
    parser.add_argument("folder", metavar="DIR", help="a folder; those below it are looked into as well")
    parser.add_argument("--out", metavar="FILE", help="where to list them with the reason, such as bad_files.csv")
    parser.add_argument("--workers", type=int, metavar="N", help="threads (default: one a core)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Decodes every picture and lists those that are damaged."""
    from tabvision.data.images.check import check_images
    from tabvision.data.tables.write import check_destination, write_frame
    from tabvision.errors import count, speaking

    if arguments.out:
        with speaking("tabvision check-images"):
            check_destination(arguments.out, overwrite=arguments.overwrite)
    num, bad = check_images(arguments.folder, num_workers=arguments.workers)
    for file, reason in bad.head(SHOWN).itertuples(index=False):
        print(f"{file}: {reason}")
    if len(bad) > SHOWN:
        print(f"… and {count(len(bad) - SHOWN, 'more file')}")
    print(f"{count(num, 'picture')} decoded, {len(bad):,} of them cannot be read.")
    if arguments.out:
        with speaking("tabvision check-images"):
            write_frame(bad, arguments.out, overwrite=arguments.overwrite)
        print(f"Listed in {arguments.out}")
