"""Write the recipe in a run's folder, with a hash of the run's rows, and read it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tabvision.cli.jobs import LOGGERS, Job
from tabvision.cli.safe import listed_classes
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, MissingFileError, listed
from tabvision.lightning import in_this_tree, tree

_ROWS = "# rows: "  # start of a recipe's first line, before the hash of the run's rows
_SETTINGS = "# settings of the run: "  # start of the second line, if there are settings that a recipe cannot hold
_KEPT = {"refit": bool, "intervals": float, "report": bool}  # these settings and their types
_ALL_HASHED, _SOME_HASHED = 1_000_000, 4_096  # hash all rows of a part up to the first, else about the second


def write_recipe(file: Path, job: Job) -> None:
    """Write the recipe of a run, below a hash of its rows and the settings that a recipe cannot hold."""
    kept = {name: value for name in _KEPT if (value := getattr(job, name)) is not None}
    head = f"{_ROWS}{_hash_of_rows(job.datamodule)}\n" + (f"{_SETTINGS}{json.dumps(kept)}\n" if kept else "")
    with written_whole(file) as partial:
        text = yaml.safe_dump(dict(job.recipe), sort_keys=False, allow_unicode=True)
        partial.write_text(f"{head}{text}", encoding="utf-8")


def settings_of_run(recipe: Path) -> dict[str, Any]:
    """Return the settings of a run that its recipe cannot hold, from the comment above it; empty if there are none.

    Raises:
        BadValueError: `tabvision train` does not write such settings.
    """
    lines = recipe.read_text(encoding="utf-8").splitlines()[:2]
    text = next((line.removeprefix(_SETTINGS) for line in lines if line.startswith(_SETTINGS)), "{}")
    try:
        found: dict[str, Any] = json.loads(text)
        is_known = all(type(value) is _KEPT[name] for name, value in found.items())
    except (ValueError, KeyError, AttributeError):
        is_known = False
    if not is_known:
        problem = f"{str(recipe)!r} holds settings that tabvision train does not write: {text!r}"
        raise BadValueError(problem, "Remove that line, and pass the options again")
    return found


def hash_of_rows(recipe: Path) -> str:
    """Return the hash of a run's rows from the comment above its recipe; empty if there is none."""
    first = recipe.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix(_ROWS) if first.startswith(_ROWS) else ""


def read_recipe(file: Path) -> dict[str, Any]:
    """Return a recipe written by `tabvision train`, whose classes are all parts of tabvision or Lightning.

    Raises:
        MissingFileError: The folder has no recipe.
        BadValueError: It is not such a recipe, or names other classes.
    """
    if not file.is_file():
        problem = f"{str(file.parent)!r} holds no run: it has no recipe.yaml"
        remedy = (
            "Pass the folder of a run, such as runs/people. A run with --preset best must start again, with --overwrite"
        )
        raise MissingFileError(problem, remedy)
    try:
        recipe = dict(yaml.safe_load(in_this_tree(file.read_text(encoding="utf-8"))))
        names = [*_class_paths([recipe["data"], recipe["model"], recipe["trainer"]])]
        recipe["seed_everything"], recipe["trainer"]["callbacks"], recipe["data"]["init_args"]
        recipe["data"]["class_path"], recipe["model"]["class_path"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        problem = f"{str(file)!r} is not a recipe that tabvision train wrote ({type(error).__name__})"
        raise BadValueError(problem, "Start the run again with --overwrite") from error
    known = {*listed_classes(), *(f"{tree()}.loggers.{name}" for name in LOGGERS.values())}
    if own := [name for name in names if name not in known]:
        last = file.with_name("last.ckpt")
        remedy = f"Pass it to tabvision fit --config {file} --ckpt_path {last}, if you trust it"
        raise BadValueError(f"{str(file)!r} names {listed(own)}, which is not part of tabvision or Lightning", remedy)
    return recipe


def _class_paths(value: object) -> Iterator[str]:
    """Yield the name of each class in nested settings."""
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    if isinstance(value, Mapping) and "class_path" in value:
        yield str(value["class_path"])
    for item in items:
        yield from _class_paths(item)


def check_rows(recipe: Path, data: Any, remedy: str) -> None:  # noqa: ANN401 - one of our datamodules
    """Raise if the rows of a run, or their split, are no longer those of its recipe.

    Raises:
        BadValueError: They changed, so training rows could end up held out.
    """
    if (known := hash_of_rows(recipe)) and known != _hash_of_rows(data):
        problem = f"the rows or their split have changed since the run in {str(recipe.parent)!r} started"
        raise BadValueError(problem, f"Restore the data, or {remedy}")


def _hash_of_rows(data: Any) -> str:  # noqa: ANN401 - as above
    """Return a hash of the rows of each part: their numbers and encoded values, and for images their file names."""
    hashed = hashlib.sha256()
    for part, (tensors, rows) in data.parts.items():
        table = getattr(data, "tables", {}).get(part)
        names = [] if table is None else [*map(str, table.frame[table.path])]
        hashed.update(repr((part, names)).encode(errors="surrogateescape"))
        for name, tensor in {**tensors, "rows": rows}.items():
            step = 1 if len(tensor) <= _ALL_HASHED else len(tensor) // _SOME_HASHED
            hashed.update(f"{name} {tuple(tensor.shape)}".encode() + tensor[::step].numpy().tobytes())
    return hashed.hexdigest()
