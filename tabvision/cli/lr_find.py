"""`tabvision lr-find`: a good rate for a recipe, before it is trained."""

from __future__ import annotations

import argparse
from typing import Any

WHO = "tabvision lr-find"
DRAWINGS = (".png", ".svg", ".pdf")


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("lr-find", help="suggest a learning rate for a recipe, without training it")
    parser.add_argument("--config", metavar="FILE", required=True, help="the recipe, such as recipe.yaml")
    parser.add_argument("--plot", metavar="FILE", help="draw the curve: .png, .svg or .pdf")
    parser.add_argument("--overwrite", action="store_true", help="replace the drawing if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Sweeps the rate on a copy of the recipe's model and prints what it suggests."""
    from tabvision.cli.quiet import quiet_lightning
    from tabvision.cli.recipe import make_cli
    from tabvision.data.tables.write import check_destination
    from tabvision.errors import speaking
    from tabvision.tuning import lr_find

    if arguments.plot:  # asked before the long work
        with speaking(WHO):
            plot = check_destination(arguments.plot, suffixes=DRAWINGS, overwrite=arguments.overwrite)
    with quiet_lightning():
        cli = make_cli(["--config", arguments.config], run=False)
        finding = lr_find(cli.trainer, cli.model, cli.datamodule)
    for way in ("lowest", "valley", "steep", "minimum", "slide"):
        print(f"{way:<8}{getattr(finding, way):>10.2e}")
    print(f"Train with it: tabvision fit --config {arguments.config} --model.init_args.lr={finding.suggestion:.2e}")
    if arguments.plot:
        from tabvision.plots import lr_curve

        lr_curve(finding).savefig(plot)
        print(plot)
