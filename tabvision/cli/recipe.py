"""LightningCLI with the schema handed from the data to the model, and wrong words and recipes said in a sentence."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.cli.quiet import built_in_a_sentence, quiet_lightning
from tabvision.errors import BadValueError, MissingFileError, TabvisionError
from tabvision.lightning import ArgsType, LightningArgumentParser, LightningCLI

CHOSEN_BY_LIGHTNING = re.compile(r"best|last|hpc|registry.*|.*://.*")  # words for a checkpoint, instead of its path
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "list": "a list",
}  # as Python calls them
LONGEST_VALUE = 60  # letters of a wrong value, which may be half a recipe
LONGEST_PROBLEM = 300  # letters; what a parser says of a recipe may hold all of it
WHO = "recipe"
REMEDY = "Pass --config with a recipe such as the recipe.yaml that tabvision train writes; see tabvision fit --help"


class _SchemaCLI(LightningCLI):
    """LightningCLI whose model gets `schema` from `data.schema`, so that no recipe has to write it."""

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")

    @override
    def _parse_ckpt_path(self) -> None:
        """Leaves the recipe as it is: Lightning would put the checkpoint's settings, schema and all, over the model's.

        A checkpoint of another schema is refused when the module is set up.

        Raises:
            MissingFileError: There is no such checkpoint.
        """
        path = str(self.config.get(f"{self.config.get('subcommand')}.ckpt_path") or "")
        if path and not CHOSEN_BY_LIGHTNING.fullmatch(path) and not Path(path).exists():
            raise MissingFileError(WHO, f"no checkpoint at {path!r}", "Check --ckpt_path")

    @override
    def _set_seed(self) -> None:
        with built_in_a_sentence(WHO):
            super()._set_seed()

    @override
    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        with built_in_a_sentence(WHO):
            return super().instantiate_trainer(**kwargs)


def run_recipe(words: Sequence[str]) -> None:
    """`tabvision fit|validate|test --config recipe.yaml`, with any setting overridden on the command line."""
    with quiet_lightning():
        make_cli(list(words), run=True)


def make_cli(arguments: ArgsType, *, run: bool) -> _SchemaCLI:
    """The trainer, model and data of a recipe; run at once if asked.

    Args:
        arguments: Command-line words, or the recipe as a dict.
        run: Whether the first word names a Trainer method to run.

    Raises:
        TabvisionError: A recipe or setting that cannot be used.
    """
    with _in_a_sentence():
        return _SchemaCLI(
            pl.LightningModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=None,  # the recipe is the record
            auto_configure_optimizers=False,
            parser_kwargs={"default_env": False, "exit_on_error": False, "prog": "tabvision"},
            args=arguments,
            run=run,
        )


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Turns what the parser of recipes says of wrong settings into a sentence.

    Raises:
        TabvisionError: The sentence: ours where one of our parts has spoken, else the parser's.
    """
    try:
        yield
    except TabvisionError:
        raise
    except argparse.ArgumentError as error:
        raise _own(error) or _as_sentence(error.message) from error
    except Exception as error:
        if own := _own(error):  # the parser wraps what a class says of its settings
            raise own from error
        raise


def _own(error: BaseException) -> TabvisionError | None:
    """The error of ours that has led to this one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TabvisionError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _as_sentence(text: str) -> BadValueError:
    """The parser's text without its types and without the recipe itself, which it may hold."""
    keys, given = re.findall(r'Parser key "([^"]+)"', text), re.search(r"(?:Got|Given) value: (.*)", text)
    found = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*)\])", text)
    wanted = [KINDS.get(kind, kind) or choices for kind, choices in found if kind != "NoneType"]
    if keys and given and wanted:
        problem = f"{'.'.join(keys)} must be {' or '.join(wanted)}, got {_shortened(given[1], LONGEST_VALUE)}"
        return BadValueError(WHO, problem, "Correct it in the recipe or on the command line")
    text = re.sub(r"Does not validate against any of the Union subtypes\s*Subtypes: .*\s*Errors:\s*", "", text)
    text = re.split(r"\s*- Expected a <class 'NoneType'>|\s*Given value|(?<=Unexpected config):", text)[0]
    problem = " ".join(text.replace("  - ", " ").split()).rstrip(".:")
    return BadValueError(WHO, _shortened(problem, LONGEST_PROBLEM), REMEDY)


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
