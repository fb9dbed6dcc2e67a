"""Detect whether DATA of `tabvision train` is a table, images, a table with images, or ratings."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

from tabvision.cli.options import form_of
from tabvision.data.images.files import is_image
from tabvision.data.tables.cells import MISSING_WORDS
from tabvision.data.tables.files import are_tables, check_file, files_of, folder_of, is_glob, table_files
from tabvision.data.tables.read import read_frame
from tabvision.errors import BadValueError, listed, speaking
from tabvision.logs import notes_at
from tabvision.schema import JoinedLabels
from tabvision.tasks.registry import KINDS


def kind_of_data(arguments: argparse.Namespace) -> str:
    """Return the kind of DATA, inferred from its path and the options; `arguments.read` keeps what was read of it.

    Raises:
        MissingFileError: There is no such file or folder; it would be taken for a table.
    """
    data, arguments.read = arguments.data, {}
    with speaking("tabvision train"):
        if isinstance(data, str) and is_glob(data):
            found = [str(file) for file in files_of(data)]
            arguments.data = data = data if are_tables(found) else found  # a recipe lists every image
        for each in data if isinstance(data, list) else [data]:
            if "://" not in each and not is_glob(each):  # for a URL, reading raises the error
                check_file(Path(each).expanduser())
    if arguments.user or arguments.item:
        return "ratings"
    if arguments.label_pattern or arguments.image_only:
        return "images"
    if arguments.image:
        return "fused" if _learns_from_columns(arguments) else "images"
    if isinstance(data, list):
        return _kind_of_list(data)
    folder = Path(data).expanduser()
    return "images" if is_image(folder.name) or (folder.is_dir() and not table_files(folder)) else "table"


def _kind_of_list(data: list[str]) -> str:
    """Infer the kind of several files from their suffixes."""
    has_folder = any(Path(each).expanduser().is_dir() for each in data)
    if has_folder or (not are_tables(data) and any(are_tables([each]) for each in data)):
        problem = (
            f"DATA must be one folder, the files of one table, or photos, got {listed([repr(each) for each in data])}"
        )
        raise BadValueError("tabvision train", problem, "Pass one of these")
    return "table" if are_tables(data) else "images"


def check_held_out(arguments: argparse.Namespace) -> None:
    """Raise if the file of validation or test rows is part of the training data."""
    data = arguments.data if isinstance(arguments.data, list) else [arguments.data]
    paths = [Path(each).expanduser() for each in data]
    found = [files_of(it) if is_glob(it) else table_files(it) if it.is_dir() else [] for it in paths]
    training = {file.resolve() for file in (*paths, *chain.from_iterable(found))}
    for option, held_out in (("--validation", arguments.validation), ("--test", arguments.test)):
        if isinstance(held_out, str) and Path(held_out).expanduser().resolve() in training:
            problem = f"{option} {held_out} is part of DATA, so its rows would train and measure the network"
            raise BadValueError("tabvision train", problem, "Pass rows that are not in DATA, or a fraction such as 0.2")


def _learns_from_columns(arguments: argparse.Namespace) -> bool:
    """Return whether DATA has columns besides its images, target and weights, and the target is not in the image."""
    in_images = {kind.name for kind in KINDS if kind.moves_with_image}
    if arguments.task is not None and arguments.task[0] in in_images:
        return False
    known = dict.fromkeys(arguments.image, MISSING_WORDS)
    if arguments.separator is not None:
        known |= dict.fromkeys(arguments.target or (), JoinedLabels([""]))
    with speaking("tabvision train"), notes_at(verbose=not arguments.quiet):
        frame = read_frame(arguments.data, known=known, **form_of(arguments))
    frame.attrs["folder"] = str(folder_of(arguments.data))
    arguments.read = {"source": frame}  # for the datamodule, since a pipe cannot be read twice
    others = {*arguments.image, *(arguments.target or ()), arguments.weight, arguments.sampler}
    return bool({*frame.columns} - others)
