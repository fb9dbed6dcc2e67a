"""`tabvision lr-find`: suggest a learning rate for a recipe before training it."""

from __future__ import annotations

import argparse

from tabvision.cli.safe import search_path


def run(arguments: argparse.Namespace) -> None:
    """Sweep the learning rate on a copy of the recipe's model and print the suggestions."""
    with search_path(safe=arguments.safe):  # before the imports below
        _find(arguments)


def _find(arguments: argparse.Namespace) -> None:
    from tabvision.cli.lightning_cli import make_cli
    from tabvision.cli.trainer import reworded_trainer_errors, tidied
    from tabvision.data.tables.write import check_destination, check_not_read, written_whole
    from tabvision.errors import speaking
    from tabvision.lightning import MisconfigurationException
    from tabvision.logs import quiet_lightning
    from tabvision.tuning.sweep import WAYS, lr_find

    if arguments.plot:  # check before the long sweep
        with speaking("tabvision lr-find"):
            plot = check_destination(
                arguments.plot,
                suffixes=(".png", ".svg", ".pdf"),
                overwrite=arguments.overwrite,
                reads=[arguments.config],
            )
    with quiet_lightning():
        cli = make_cli(["--config", arguments.config], run=False, safe=arguments.safe)
        if arguments.plot:
            with speaking("tabvision lr-find"):
                check_not_read(plot, [cli.config.data.get("init_args", {}).get("source")])
        misconfigured = reworded_trainer_errors("tabvision lr-find", only=(MisconfigurationException,))
        with tidied(cli.trainer), misconfigured:
            found = lr_find(cli.trainer, cli.model, cli.datamodule)
    for way in WAYS:
        print(f"{way:<8}{getattr(found, way):>10.2e}")
    print(f"Train with it: tabvision fit --config {arguments.config} --model.init_args.lr={found.suggestion:.2e}")
    if arguments.plot:
        from tabvision.plots import lr_curve

        with speaking("tabvision lr-find"), written_whole(plot) as partial:
            lr_curve(found).savefig(partial)
        print(plot)
