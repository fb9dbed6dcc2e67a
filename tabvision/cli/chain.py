"""The chain of a run: hashes of its recipe, data and checkpoints, each including the previous hash."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tabvision import __version__
from tabvision.cli.jobs import CHECKPOINTS
from tabvision.cli.safe import texts_in
from tabvision.data.tables.files import files_of, is_glob
from tabvision.data.tables.write import written_whole
from tabvision.errors import BadValueError, MissingFileError
from tabvision.lightning import tree

_CHAIN = "chain.jsonl"
_SOURCES = ("source", "validation", "test", "titles", "corrections", "weights")  # settings that name files


class Stretch(NamedTuple):
    """The training steps between two checkpoints.

    Args:
        start: The checkpoint at its start; None for the seed.
        first: The step of that checkpoint.
        end: The checkpoint at its end.
        last: The step of that checkpoint.
        is_final: Whether the fit ends there.
    """

    start: Path | None
    first: int
    end: Path
    last: int
    is_final: bool


def write_chain(folder: Path, recipe: Mapping[str, Any], datamodule: object, device: torch.device) -> str:
    """Write the chain of a finished run and return the hash of its last line."""
    named = [text for name, text in texts_in([recipe["data"], recipe["model"]]) if name in _SOURCES]
    paths = [Path(file).expanduser() for text in named for file in (files_of(text) if is_glob(text) else [text])]
    photos = [Path(file) for file in getattr(datamodule, "files", ()) if file]
    read = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
    files = [folder / "recipe.yaml", *sorted({file for file in (*read, *photos) if file.is_file()})]
    written = [*((0, file) for file in files), *checkpoints_of(folder)]
    written += [(written[-1][0], folder / name) for name in ("last.ckpt", "best.ckpt")]
    lines = [json.dumps({"trained_on": facts_of(device)})]
    for step, file in written:
        name = str(file.relative_to(folder)) if file.is_relative_to(folder) else str(file)
        link = {"step": step, "file": name, "sha256": _sha256(file), "previous": _hash(lines[-1])}
        lines.append(json.dumps(link, ensure_ascii=False))
    with written_whole(folder / _CHAIN) as partial:
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return _hash(lines[-1])


def read_chain(folder: Path) -> tuple[dict[str, str], list[Stretch], str]:
    """Check that every file is unchanged; return the machine of the run, its stretches and the hash of the last line.

    Raises:
        MissingFileError: The folder has no chain, or a file in the chain is missing.
        BadValueError: A line or a file was changed, or a checkpoint is not in the chain.
    """
    chain, remedy = folder / _CHAIN, "Ask for the original"
    if not chain.is_file():
        problem = f"{str(folder)!r} has no {_CHAIN}, which tabvision train --verifiable writes"
        raise MissingFileError(problem, "Pass the folder of such a run")
    try:
        lines = chain.read_text(encoding="utf-8").splitlines()
        facts, links = dict(json.loads(lines[0])["trained_on"]), [json.loads(line) for line in lines[1:]]
        wanted = [(int(link["step"]), str(link["file"]), str(link["sha256"]), link["previous"]) for link in links]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise BadValueError(f"{str(chain)!r} is not a chain of hashes ({type(error).__name__})", remedy) from error
    for number, (before, (_, name, digest, previous)) in enumerate(zip(lines, wanted, strict=False), 2):
        if previous != _hash(before):
            problem = f"line {number - 1} of {str(chain)!r} was changed after line {number} was written"
            raise BadValueError(problem, remedy)
        file = folder / name if (folder / name).is_file() else Path(name).expanduser()
        if not file.is_file():
            where = "paths of data start from the folder in which the fit was started"
            raise MissingFileError(f"{name!r}, listed in {str(chain)!r}, is missing", f"Put it back; {where}")
        if _sha256(file) != digest:
            problem = f"{str(file)!r} is not the file that the fit used: its hash is not the one in {str(chain)!r}"
            raise BadValueError(problem, remedy)
    kept = [(step, folder / name) for step, name, *_ in wanted if Path(name).parts[:1] == (CHECKPOINTS,)]
    names = {name for _, name, *_ in wanted}
    if kept != checkpoints_of(folder) or not kept or not {"recipe.yaml", "best.ckpt", "last.ckpt"} <= names:
        raise BadValueError(f"{str(chain)!r} does not list every file of the run", remedy)
    found = [
        Stretch(start, first, end, last, is_final=end == kept[-1][1])
        for (first, start), (last, end) in zip([(0, None), *kept[:-1]], kept, strict=True)
    ]
    return facts, found, _hash(lines[-1])


def facts_of(device: torch.device) -> dict[str, str]:
    """Return the machine and versions that a bit-identical fit needs."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    file = Path("/proc/cpuinfo")
    models = [line for line in file.read_text().splitlines() if "model name" in line] if file.is_file() else []
    processor = models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": importlib.import_module(tree()).__version__,
    }
    where = {"system": platform.system(), "processor": processor, "device": chip}
    return {**versions, "tabvision": __version__, **where, "threads": str(torch.get_num_threads())}


def checkpoints_of(folder: Path) -> list[tuple[int, Path]]:
    """Return the checkpoints that a run kept, each with its step, in order of steps."""
    files = {file.stem.partition("=")[2]: file for file in (folder / CHECKPOINTS).glob("step=*.ckpt")}
    return sorted((int(step), file) for step, file in files.items() if step.isdecimal())


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _hash(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()
