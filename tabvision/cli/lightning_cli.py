"""A LightningCLI that passes the data's schema to the model and rewords each error in a recipe as one sentence."""

from __future__ import annotations

import argparse
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks.average_and_stop import AverageAndStop, save_kept_weights
from tabvision.cli.progress import show_progress
from tabvision.cli.safe import WARNING, check_writes_here, importing
from tabvision.cli.trainer import (
    best_networks,
    guard_checkpoints,
    reworded_resume_errors,
    reworded_trainer_errors,
    tidied,
)
from tabvision.errors import BadValueError, MissingFileError, TabvisionError, cut
from tabvision.lightning import (
    ArgsType,
    Callback,
    CSVLogger,
    LightningArgumentParser,
    LightningCLI,
    MisconfigurationException,
    callbacks_of,
    in_this_tree,
)

_CHECKPOINT_WORDS = re.compile(r"best|last|hpc|registry.*|.*://.*")  # what Lightning accepts in place of a path
_TYPES = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false", "list": "a list"}
_LONGEST_VALUE = 60  # in characters; a wrong value may be half a recipe
_LONGEST_PROBLEM = 300  # in characters; the parser's message may hold the whole recipe
_WHO = "recipe"
_REMEDY = "Pass --config with a recipe such as the recipe.yaml that tabvision train writes; see tabvision fit --help"


class _OneRecipeParser(LightningArgumentParser):
    """A parser that reads only the files of --config: its errors would print the contents of a file named by a value."""

    def _add_signature_parameter(self, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401 - jsonargparse's
        return super()._add_signature_parameter(*arguments, **{**settings, "sub_configs": False})

    def _create_group_if_requested(self, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        return super()._create_group_if_requested(*arguments, **{**settings, "config_load": False})  # type: ignore[no-untyped-call]

    def _load_config_parser_mode(self, content: str, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401
        """Read a recipe, whichever of Lightning's two packages it names."""
        return super()._load_config_parser_mode(in_this_tree(content), *arguments, **settings)


class _SchemaCLI(LightningCLI):
    """A LightningCLI that passes `data.schema` to the model, so that a recipe need not contain the schema.

    Args:
        called: The Trainer method to run, the only one whose parser is built; None for none.
        safe: Whether the recipe may write only inside the working folder.
        settings: As for LightningCLI.
    """

    def __init__(self, called: str | None, *, safe: bool, **settings: Any) -> None:  # noqa: ANN401
        self._called, self._safe = called, safe
        if called is not None:
            skipped = LightningCLI.subcommands()[called]
            self.subcommands = lambda: {called: skipped}  # type: ignore[method-assign]
        super().__init__(pl.LightningModule, pl.LightningDataModule, run=called is not None, **settings)

    @property
    def _settings(self) -> Any:  # noqa: ANN401 - jsonargparse's namespace
        """The settings from the recipe and the command line."""
        return self.config if self._called is None else self.config[self._called]

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.schema", "model.init_args.schema", apply_on="instantiate")

    @override
    def _parse_ckpt_path(self) -> None:
        """Keep the recipe as it is: Lightning would replace the model's settings, including the schema, by the checkpoint's.

        The module raises during setup if the checkpoint's schema differs.

        Raises:
            MissingFileError: The checkpoint does not exist, or none is given to evaluate and none is next to the recipe.
            BadValueError: The recipe asks to run the code in a checkpoint.
        """
        settings = self._settings
        if settings.get("weights_only") is False:
            problem = "a recipe must not set weights_only: false, which would run code that a checkpoint may hold"
            raise BadValueError(_WHO, problem, "Leave weights_only out; checkpoints are read as plain data")
        if self._called in ("validate", "test") and not settings.get("ckpt_path"):
            recipes = settings.get("config") or ()
            found = [best for recipe in recipes if (best := Path(str(recipe)).with_name("best.ckpt")).is_file()]
            if not found:
                problem = "no checkpoint to measure was given, and there is no best.ckpt next to the recipe"
                raise MissingFileError(_WHO, problem, "Pass --ckpt_path with the checkpoint to measure")
            settings["ckpt_path"] = str(found[-1])
            print(f"Measuring {found[-1]}")
        path = str(settings.get("ckpt_path") or "")
        if path and not _CHECKPOINT_WORDS.fullmatch(path) and not Path(path).exists():
            raise MissingFileError(_WHO, f"no checkpoint at {path!r}", "Check --ckpt_path")

    @override
    def _set_seed(self) -> None:
        with reworded_trainer_errors(_WHO):
            super()._set_seed()

    @override
    def before_instantiate_classes(self) -> None:
        if self._safe:
            settings = self._settings.as_dict()
            check_writes_here(settings["trainer"], settings["data"])

    @override
    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        trainer = self._settings.trainer
        if not isinstance(trainer, str) and trainer.logger in (None, True):  # by default Lightning uses lightning_logs
            recipe = Path(str((self._settings.get("config") or ["recipe"])[-1]))  # "recipe" if there is no file
            name = recipe.resolve().parent.name if recipe.name == "recipe.yaml" else recipe.stem
            kwargs["logger"] = CSVLogger(trainer.default_root_dir or "runs", name=name or "recipe")
        with reworded_trainer_errors(_WHO):
            made = super().instantiate_trainer(**kwargs)
        guard_checkpoints(made)
        show_progress(made)
        return made

    @override
    def _run_subcommand(self, subcommand: str) -> None:
        misconfigured = reworded_trainer_errors(_WHO, only=(MisconfigurationException,))
        with tidied(self.trainer), misconfigured, reworded_resume_errors():
            super()._run_subcommand(subcommand)

    def before_fit(self) -> None:
        """Raise if nothing would be saved because the monitored metric is never computed.

        Raises:
            BadValueError: A callback monitors a metric on rows that are not held out.
        """
        parts = getattr(self.datamodule, "parts", {})
        trainer: Any = self.trainer
        monitored = [str(getattr(callback, "monitor", None)) for callback in callbacks_of(trainer, Callback)]
        if parts and "val" not in parts and (lacking := [name for name in monitored if name.startswith("val/")]):
            problem = f"a callback monitors {lacking[0]!r}, but the data has no validation rows"
            remedy = "Set data.init_args.split to a fraction such as 0.2, or let it monitor train/loss"
            raise BadValueError(_WHO, problem, remedy)
        keepers = callbacks_of(trainer, AverageAndStop)
        has_folds = any(keeper.uses_folds(trainer, self.model, self.datamodule) for keeper in keepers)
        if "oof/loss" in monitored and not has_folds:
            problem = "a callback monitors 'oof/loss', but no member of this network leaves out a fold"
            remedy = "Set data.init_args.split to a fraction such as 0.2, and let it monitor val/loss"
            raise BadValueError(_WHO, problem, remedy)

    def after_fit(self) -> None:
        """Print where the checkpoints and metrics are."""
        trainer: Any = self.trainer
        save_kept_weights(trainer)
        if trainer.is_global_zero and not trainer.fast_dev_run:
            self.after_validate()
            for path in best_networks(trainer) or ["No checkpoint"]:
                print(f"{path} was saved")

    def after_validate(self) -> None:
        """Print the path of the metrics."""
        folder = self.trainer.log_dir
        if self.trainer.is_global_zero and folder is not None and (Path(folder) / "metrics.csv").exists():
            print(f"{Path(folder) / 'metrics.csv'} has the metrics")

    after_test = after_validate


def make_cli(arguments: ArgsType, *, run: bool, safe: bool = False) -> _SchemaCLI:
    """Build the trainer, model and data of a recipe; run it if `run` is set.

    Args:
        arguments: Command-line arguments, or the recipe as a dict.
        run: Whether the first argument names a Trainer method to run.
        safe: Whether to build only listed parts, and write only inside the working folder.

    Raises:
        TabvisionError: The recipe or a setting is wrong.
    """
    words = [in_this_tree(word) for word in arguments] if isinstance(arguments, list) else arguments
    called = words[0] if run and isinstance(words, list) else None
    with _reworded_parser_errors(), importing(safe=safe):
        return _SchemaCLI(
            called,
            safe=safe,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=None,  # the recipe is the record
            auto_configure_optimizers=False,
            parser_class=_OneRecipeParser,
            parser_kwargs={
                **({called: {"description": WARNING}} if called else {}),
                "default_env": False,
                "exit_on_error": False,
                "prog": "tabvision",
            },
            args=words,
        )


@contextmanager
def _reworded_parser_errors() -> Iterator[None]:
    """Reword an error of the recipe parser as one sentence.

    Raises:
        TabvisionError: The library's error that caused the parser's, otherwise the parser's text, reworded.
    """
    try:
        yield
    except TabvisionError:
        raise
    except UnicodeDecodeError as error:
        if Path(traceback.extract_tb(error.__traceback__)[-2].filename).parent.name != "jsonargparse":
            raise  # the error is from the user's own code
        problem = f"the recipe is not UTF-8 text (byte {error.object[error.start]:#04x} at {error.start:,})"
        raise BadValueError(_WHO, problem, "Save it as UTF-8") from error
    except argparse.ArgumentError as error:
        raise _cause_of(error) or _reworded(error.message) from error
    except Exception as error:
        if cause := _cause_of(error):  # the parser wraps errors from the classes it builds
            raise cause from error
        raise


def _cause_of(error: BaseException) -> TabvisionError | BrokenPipeError | None:
    """Return the library's error, or the BrokenPipeError, that caused this one, or None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, TabvisionError | BrokenPipeError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _reworded(text: str) -> BadValueError:
    """Return an error with the parser's text, without Python types or the recipe that the text may contain."""
    if denied := re.search(
        r"Importing '([^']+)' is not allowed, denied by the '([*]|tabvision|pytorch_|light|torch)?", text
    ):
        outside = denied[2] is not None
        problem = f"{denied[1]} {'is not on the list of what --safe builds' if outside else 'may run commands'}"
        remedy = "If you trust the recipe, run it without --safe" if outside else "Leave it out"
        return BadValueError(_WHO, f"{problem}, and was not imported", remedy)
    keys, given = re.findall(r'Parser key "([^"]+)"', text), re.search(r"(?:Got|Given) value: (.*)", text)
    found = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*)\])", text)
    wanted = [_TYPES.get(kind, kind) or choices for kind, choices in found if kind != "NoneType"]
    if keys and given and wanted:
        problem = f"{'.'.join(keys)} must be {' or '.join(wanted)}, got {cut(given[1], _LONGEST_VALUE)}"
        return BadValueError(_WHO, problem, "Correct it in the recipe or on the command line")
    text = re.sub(r"Does not validate against any of the Union subtypes\s*Subtypes: .*\s*Errors:\s*", "", text)
    text = re.split(r"\s*- Expected a <class 'NoneType'>|\s*Given value|(?<=Unexpected config):", text)[0]
    problem = " ".join(text.replace("  - ", " ").split()).rstrip(".:")
    return BadValueError(_WHO, cut(problem, _LONGEST_PROBLEM), _REMEDY)
