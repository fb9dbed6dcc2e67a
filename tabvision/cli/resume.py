"""Continue an interrupted run (`tabvision train --resume`) or a trained network on new rows (`--from`)."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from tabvision.cli.folder import RESUME_FILE, is_finished, learned_from_validation, recipe_file
from tabvision.cli.jobs import Job, build, component
from tabvision.cli.options import given_flags
from tabvision.cli.run import run_job
from tabvision.cli.run_recipe import check_rows, read_recipe, settings_of_run
from tabvision.errors import BadValueError, MissingFileError, listed, speaking
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import seed_everything

logger = logging.getLogger("tabvision")

# options that may change, or that a recipe does not hold
_ALLOWED = ("--devices", "--intervals", "--no-report", "--quiet", "--refit")
_WHO = "tabvision train"
_OF_SCHEMA = (  # settings of a datamodule that its schema determines
    *("categorical", "continuous", "dates", "ignore", "task", "separator", "na_values"),
    *("size", "resize", "channels", "value_range", "y_range"),
)


@speaking("tabvision train")
def resume_run(arguments: argparse.Namespace) -> None:
    """Train the run in a folder to the end, and write what it would have written.

    Raises:
        MissingFileError: The folder has no run that can be resumed.
        BadValueError: The run is finished, its folder was moved, its recipe cannot be read, or other options are given.
    """
    others = [flag for flag in given_flags(arguments) if flag not in _ALLOWED]
    if arguments.data or others:
        problem = f"--resume continues with the recipe of the run, got {listed(others or arguments.data)} as well"
        raise BadValueError(problem, "Leave that out, or train a changed recipe with tabvision fit --config")
    folder = Path(arguments.resume).expanduser()
    file = recipe_file(folder)
    recipe = read_recipe(file)
    _check_resumable(folder, file)
    if "--devices" in given_flags(arguments):
        recipe["trainer"]["devices"] = arguments.devices
    seed_everything(recipe["seed_everything"], workers=True, verbose=False)
    module = Predictor(folder / "last.ckpt", device="cpu").module.train() if file.name == RESUME_FILE else None
    quiet = arguments.quiet or recipe["data"]["init_args"].get("verbose") is False
    schema = {} if module is None else {"schema": module.schema}
    data = build(recipe["data"], **schema, verbose=not quiet)
    again = f"start again with --overwrite, or continue with the new rows: --from {folder / 'best.ckpt'}"
    check_rows(file, data, again)
    given = {
        "intervals": arguments.intervals,
        "refit": arguments.refit,
        "report": False if arguments.no_report else None,
    }
    kept = settings_of_run(file) | {name: value for name, value in given.items() if value is not None}
    job = Job(recipe=recipe, datamodule=data, module=module, quiet=quiet, **kept)
    run_job(job, folder, resume=True)


def _check_resumable(folder: Path, recipe: Path) -> None:
    """Raise unless the run in a folder was interrupted, and is still where it began."""
    begins_anew, again = recipe.name != RESUME_FILE, f"tabvision fit --config {recipe}"
    if is_finished(folder):
        longer = f"{again} --ckpt_path {folder / 'last.ckpt'} --trainer.max_epochs N"
        longer = longer if begins_anew else f"tabvision train --from {folder / 'best.ckpt'}"
        raise BadValueError(f"the run in {str(folder)!r} is finished", f"To train longer: {longer}")
    if not (folder / "last.ckpt").is_file():
        problem = f"{str(folder)!r} has no last.ckpt, which is saved after each epoch"
        by_recipe = f", or by its recipe: {again}" if begins_anew else ""
        raise MissingFileError(problem, f"Start it again with --overwrite{by_recipe}")
    states = read_state(folder / "last.ckpt").get("callbacks", {}).values()
    folders = [state["dirpath"] for state in states if isinstance(state, dict) and "dirpath" in state]
    if moved := [each for each in folders if Path(str(each)).resolve() != folder.resolve()]:
        problem = f"the run in {str(folder)!r} was started in {str(moved[0])!r}, where it saves its checkpoints"
        raise BadValueError(problem, "Move the folder back")


def warm_started(job: Job, checkpoint: str) -> Job:
    """Return the run, changed to start from a checkpoint.

    Raises:
        BadValueError: The checkpoint is for another kind of data, or an option would build another network.
    """
    if job.num_folds > 1:
        raise BadValueError(_WHO, "--preset best trains new networks, got --from as well", "Leave one of the two out")
    with speaking(_WHO):
        known, file = Predictor(checkpoint).module, Path(checkpoint)
        if file.name == "best.ckpt" and learned_from_validation(file.parent):
            logger.info(
                f"{checkpoint} also learned from the validation rows of its run: if DATA holds them, the metrics below "
                "are too good. Measure it on other rows, or start from a run with --no-refit."
            )
        data, model = job.recipe["data"], job.recipe["model"]
        kind = model["class_path"].rpartition(".")[2]
        if type(known).__name__ != kind:
            problem = f"{checkpoint} holds a {type(known).__name__}, and these rows are for a {kind}"
            raise BadValueError(problem, "Name a checkpoint trained on such rows, or leave --from out")
        settings = {name: value for name, value in model["init_args"].items() if name != "lr"}
        if fixed := [name for name, value in settings.items() if known.hparams.get(name, value) != value]:
            problem = f"--{fixed[0].replace('_', '-')} asks for another network than the one in {checkpoint}"
            raise BadValueError(problem, "Leave one of the two out")
        module = known.grow(job.datamodule.schema)
        if job.monitor == "oof/loss" and getattr(module, "fold_members", 1) < 2:
            problem = f"no rows are held out, and the network in {checkpoint} has no members that leave out folds"
            raise BadValueError(problem, "Hold some out: --validation 0.2")
        kept = {name: value for name, value in data["init_args"].items() if name not in _OF_SCHEMA}
        data = component(data["class_path"], **kept)
        if "lr" in model["init_args"]:
            module.hparams["lr"] = model["init_args"]["lr"]
        recipe = {**job.recipe, "data": data}
        return replace(job, recipe=recipe, datamodule=build(data, schema=module.schema), module=module)
