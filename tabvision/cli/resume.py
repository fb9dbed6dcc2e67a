"""Go on: `tabvision train --resume` with an interrupted run, and `--from` with a trained network and further rows."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tabvision.cli.folder import RESUME_FILE, is_finished, recipe_file
from tabvision.cli.jobs import EXACT_RESUME, LAST, LOGGERS, Component, Job, model_checkpoint
from tabvision.cli.options import given_flags
from tabvision.cli.ratings import evaluation
from tabvision.cli.run import run_job
from tabvision.cli.safe import listed_classes
from tabvision.data import CollabDataModule
from tabvision.errors import BadValueError, MissingFileError, listed, speaking
from tabvision.inference import Predictor
from tabvision.inference.checkpoint import read_state
from tabvision.lightning import in_this_tree, seed_everything, tree
from tabvision.modules import SupervisedModule

_ALLOWED = ("--devices", "--intervals", "--no-report", "--quiet")  # what may change, or a recipe does not hold
_WHO = "tabvision train"
_OF_SCHEMA = (  # settings of a datamodule that its schema decides
    *("categorical", "continuous", "dates", "ignore", "task", "separator", "na_values"),
    *("size", "resize", "channels", "value_range", "y_range"),
)


@speaking("tabvision train")
def resume_run(arguments: argparse.Namespace) -> None:
    """Train the run in a folder to its end, and write what it would have written.

    Raises:
        MissingFileError: The folder has no run that can go on.
        BadValueError: The run is finished, its folder was moved, its recipe cannot be read, or other options are given.
    """
    others = [flag for flag in given_flags(arguments) if flag not in _ALLOWED]
    if arguments.data or others:
        problem = f"--resume goes on as the recipe of the run says, got {listed(others or arguments.data)} as well"
        raise BadValueError(problem, "Leave that out; tabvision fit --config takes a changed recipe")
    folder = Path(arguments.resume).expanduser()
    _check_run(folder)
    file = recipe_file(folder)
    recipe = read_recipe(file)
    if "--devices" in given_flags(arguments):
        recipe["trainer"]["devices"] = arguments.devices
    seed_everything(recipe["seed_everything"], workers=True, verbose=False)
    module = Predictor(folder / "last.ckpt", device="cpu").module.train() if file.name == RESUME_FILE else None
    job = _job_of(recipe, module, arguments.intervals, quiet=arguments.quiet)
    run_job(job, folder, report=not arguments.no_report, resume=True)


def _check_run(folder: Path) -> None:
    """Raise unless a folder holds a run that was interrupted."""
    recipe = recipe_file(folder)
    if not recipe.is_file():
        problem = f"{str(folder)!r} holds no run, which would have a recipe.yaml"
        raise MissingFileError(problem, "Pass the folder of a run, such as runs/people")
    begins_anew, again = recipe.name != RESUME_FILE, f"tabvision fit --config {recipe}"
    if is_finished(folder):
        longer = f"{again} --ckpt_path {folder / 'last.ckpt'} --trainer.max_epochs N"
        longer = longer if begins_anew else f"tabvision train --from {folder / 'best.ckpt'}"
        raise BadValueError(f"the run in {str(folder)!r} is finished", f"To train on: {longer}")
    if not (folder / "last.ckpt").is_file():
        problem = f"{str(folder)!r} has no last.ckpt, which is saved after each epoch"
        by_recipe = f", or by its recipe: {again}" if begins_anew else ""
        raise MissingFileError(problem, f"Start it again with --overwrite{by_recipe}")
    states = read_state(folder / "last.ckpt").get("callbacks", {}).values()
    folders = [state["dirpath"] for state in states if isinstance(state, dict) and "dirpath" in state]
    if moved := [each for each in folders if Path(str(each)).resolve() != folder.resolve()]:
        problem = f"the run in {str(folder)!r} was begun in {str(moved[0])!r}, where its best network is looked for"
        raise BadValueError(problem, "Move the folder back")


def read_recipe(file: Path) -> dict[str, Any]:
    """Return a recipe as `tabvision train` writes it, whose classes are parts of tabvision or of Lightning.

    Raises:
        BadValueError: It is none, or names other classes.
    """
    try:
        recipe = dict(yaml.safe_load(in_this_tree(file.read_text(encoding="utf-8"))))
        names = [*_class_paths([recipe["data"], recipe["model"], recipe["trainer"]])]
        recipe["seed_everything"], recipe["data"]["class_path"], recipe["model"]["class_path"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        problem = f"{str(file)!r} is not a recipe that tabvision train wrote ({type(error).__name__})"
        raise BadValueError(problem, "Start the run again with --overwrite") from error
    known = {*listed_classes(), *(f"{tree()}.loggers.{name}" for name in LOGGERS.values())}
    if own := [name for name in names if name not in known]:
        last = file.with_name("last.ckpt")
        remedy = f"Pass it to tabvision fit --config {file} --ckpt_path {last}, if you trust it"
        raise BadValueError(f"{str(file)!r} names {listed(own)}, which is no part of tabvision or Lightning", remedy)
    return recipe


def _class_paths(value: object) -> Iterator[str]:
    """Yield the name of each class in nested settings."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping) and "class_path" in value:
        yield str(value["class_path"])
    for item in items:
        yield from _class_paths(item)


def component(value: Any) -> Any:  # noqa: ANN401 - settings of a recipe
    """Return what a recipe names as a `Component`, with the components within its settings; other settings as they are."""
    if not isinstance(value, Mapping) or "class_path" not in value:
        return value
    settings = {name: component(each) for name, each in value.get("init_args", {}).items()}
    if value["class_path"].startswith("tabvision.tasks."):  # its weights are a tuple, in YAML a list
        settings = {name: tuple(each) if isinstance(each, list) else each for name, each in settings.items()}
    return Component(value["class_path"], settings)


def _job_of(recipe: Mapping[str, Any], module: SupervisedModule | None, intervals: float | None, *, quiet: bool) -> Job:
    """Return the run of a recipe that `Job.to_recipe` returned; `module` is that of a run that began with a trained one."""
    callbacks = [component(part) for part in recipe["trainer"]["callbacks"]]
    data = component(recipe["data"])
    own = ("logger", "callbacks", "enable_model_summary")  # set by every run of this command
    quiet = quiet or data.init_args.get("verbose") is False
    schema = {} if module is None else {"schema": module.schema}
    datamodule = replace(data, init_args={**data.init_args, **schema, "verbose": not quiet}).build()
    loggers = recipe["trainer"].get("logger")
    image = datamodule.schema.image
    by_data: dict[str, Any] = {} if image is None else {"shown": [*image.columns]}
    if isinstance(datamodule, CollabDataModule):
        by_data = evaluation(datamodule)
    monitors = [part.init_args["monitor"] for part in callbacks if "monitor" in part.init_args]
    return Job(
        seed=recipe["seed_everything"],
        data=data,
        datamodule=datamodule,
        model=component(recipe["model"]),
        callbacks=[part for part in callbacks if part.class_path not in (model_checkpoint(), EXACT_RESUME)],
        trainer={name: value for name, value in recipe["trainer"].items() if name not in own},
        monitor=monitors[-1] if monitors else LAST,
        intervals=intervals,
        verifiable=any(part.init_args.get("save_top_k") == -1 for part in callbacks),
        quiet=quiet,
        module=module,
        logger=Component(loggers[1]["class_path"]) if isinstance(loggers, list) and loggers[1:] else None,
        **by_data,
    )


def warm_started(job: Job, checkpoint: str) -> Job:
    """Return the run that starts from a checkpoint.

    Raises:
        BadValueError: The checkpoint is of another kind of data, or an option would build another network.
    """
    if job.num_folds > 1:
        raise BadValueError(_WHO, "--preset best trains new networks, got --from as well", "Leave one of the two out")
    with speaking(_WHO):
        known = Predictor(checkpoint).module
        kind = job.model.class_path.rpartition(".")[2]
        if type(known).__name__ != kind:
            problem = f"{checkpoint} holds a {type(known).__name__}, and these rows are for a {kind}"
            raise BadValueError(problem, "Name a checkpoint of such rows, or leave --from out")
        settings = {name: value for name, value in job.model.init_args.items() if name != "lr"}
        if fixed := [name for name, value in settings.items() if known.hparams.get(name, value) != value]:
            problem = f"--{fixed[0].replace('_', '-')} builds another network than the one in {checkpoint}"
            raise BadValueError(problem, "Leave it out, or leave --from out")
        module = known.grow(job.datamodule.schema)
        if job.monitor == "oof/loss" and getattr(module, "fold_members", 1) < 2:
            problem = f"the network in {checkpoint} cannot hold rows out for itself"
            raise BadValueError(problem, "Hold some out: --validation 0.2")
        data: dict[str, Any] = {name: value for name, value in job.data.init_args.items() if name not in _OF_SCHEMA}
        built = replace(job.data, init_args={**data, "schema": module.schema}).build()
        if "lr" in job.model.init_args:
            module.hparams["lr"] = job.model.init_args["lr"]
        return replace(job, data=replace(job.data, init_args=data), datamodule=built, module=module)
