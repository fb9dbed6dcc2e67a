"""LightningCLI with the schema handed from the data to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from typing_extensions import override


class SchemaCLI(LightningCLI):
    """LightningCLI whose model gets `schema` from `data.schema`, so that no recipe has to write it."""

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")

    @override
    def _parse_ckpt_path(self) -> None:
        """Leaves the recipe as it is: Lightning would put the checkpoint's settings, schema and all, over the model's.

        A checkpoint of another schema is refused when the module is set up.
        """


def run_recipe(words: Sequence[str]) -> None:
    """`tabvision fit|validate|test --config recipe.yaml`, with any setting overridden on the command line."""
    make_cli(list(words), run=True)


def make_cli(arguments: ArgsType, *, run: bool) -> SchemaCLI:
    """The trainer, model and data of a recipe; run at once if asked.

    Args:
        arguments: Command-line words, or the recipe as a dict.
        run: Whether the first word names a Trainer method to run.
    """
    defaults: dict[str, Any] = {"default_env": False}
    return SchemaCLI(
        pl.LightningModule,
        pl.LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_callback=None,  # the recipe is the record
        auto_configure_optimizers=False,
        parser_kwargs=defaults,
        args=arguments,
        run=run,
    )
