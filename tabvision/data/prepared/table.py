"""A prepared table: arrays in a folder, written once, mapped by every training process, and reused by later runs."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision import __version__
from tabvision.counter_random import uniforms
from tabvision.data.loaders import MappedTensors
from tabvision.data.memory import memory_limit
from tabvision.data.prepared.arrays import ArrayFiles, mapped, one_at_a_time, replaced_whole, smallest
from tabvision.data.prepared.facts import joined
from tabvision.data.prepared.folds import Folds, folds_in
from tabvision.data.prepared.scan import LEFT_OUT, PARTS, Scan
from tabvision.data.rows import row_weights, taken
from tabvision.data.splits.base import Split
from tabvision.data.splits.random import GroupSplit
from tabvision.data.table_settings import TableSettings
from tabvision.data.tables.blocks import check_paths, described, named_file, table_bytes
from tabvision.data.tables.files import files_of, is_paths
from tabvision.data.tables.read import arrow_table, frame_of_arrow
from tabvision.data.tables.text_file import first_line
from tabvision.data.tables.write import writing
from tabvision.data.targets import encode_target
from tabvision.errors import BadValueError, count
from tabvision.preprocess import Columns, to_arrays
from tabvision.schema import Schema
from tabvision.tasks import Task, own_task
from tabvision.tasks.registry import KINDS

logger = logging.getLogger("tabvision")

_MANIFEST = "prepared.json"
_SAMPLE, _POSITION, _PART = "sample", "position", "part"
_SHOWN = 50_000  # about how many raw rows to keep of each part
_PROBED = 1 << 16  # bytes from a file's start, middle and end, hashed to notice that it changed
_LARGER_IN_MEMORY = 5  # a 180 MB table takes 624 MB to read, encode and split; the rest is for other programs


@final
@dataclass(frozen=True)
class PreparedSample:
    """Some rows of each part of a prepared table, in memory.

    Args:
        frame: The rows as in the files; the index is each row's number in the source.
        tensors: The tensors of these rows.
        rows: For each part, the positions of its rows in this sample.
        positions: The positions of these rows in the prepared table.
    """

    frame: pd.DataFrame
    tensors: dict[str, Tensor]
    rows: dict[str, Tensor]
    positions: Tensor


@final
@dataclass(frozen=True)
class PreparedTable:
    """A table whose encoded rows are memory-mapped from files in a folder.

    Args:
        folder: The folder.
        schema: The schema, fitted to the training rows.
        tensors: The tensors of a batch by name.
        rows: The positions of each part's rows.
        draws: The relative frequency at which to draw each row, if a column gives it.
        groups: The group number of each row, if the rows are split by groups.
        sample: Some rows of each part.
    """

    folder: Path
    schema: Schema
    tensors: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    draws: Tensor | None
    groups: Tensor | None
    sample: PreparedSample

    def folds(self, num_folds: int, seed: int, *, stratify: bool) -> Folds:
        """Return folds of the training rows; groups stay whole. Folds are stored, and later calls reuse them.

        Args:
            num_folds: The number of folds.
            seed: Determines the folds.
            stratify: Whether to spread each class evenly over the folds.
        """
        target = self.tensors["target"]
        codes, name = target if stratify else None, f"folds-{num_folds}-{seed}"
        return folds_in(
            self.folder / name, self.rows["train"], len(target), num_folds, seed, codes=codes, groups=self.groups
        )


def prepare(folder: Path, settings: TableSettings) -> PreparedTable:
    """Return the table prepared in a folder if its settings are the same; else prepare it there, all or nothing.

    If several processes on a machine need it, one prepares it and the others wait.

    Raises:
        BadValueError: The folder holds something else, or the table cannot be trained on as it is.
        UnwritableFileError: The disk is full or read-only.
    """
    folder = folder.expanduser().absolute()
    for source in (settings.source, *getattr(settings.split, "sources", ())):
        check_paths(source)
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    task = settings.schema.task if settings.schema is not None else settings.task
    with one_at_a_time(folder), own_task(None if task is None or type(task) in KINDS else type(task)):
        key, manifest = _key(settings), _manifest(folder)
        if manifest is not None and manifest["key"] == key:
            try:
                found = _opened(folder, manifest)
            except (OSError, EOFError, ValueError, LookupError) as error:
                logger.info(f"{str(folder)!r} is damaged ({first_line(error)}), so it is prepared again.")
            else:
                logger.info(f"{count(manifest['num_rows'], 'row')} prepared before, in {str(folder)!r}.")
                return found
        elif manifest is not None:
            logger.info(f"{_change(manifest['key'], key)} since {str(folder)!r} was prepared, so it is prepared again.")
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            remedy = "Pass an empty or a new folder (prepared=, --prepared)"
            raise BadValueError(f"{str(folder)!r} holds something other than a prepared table", remedy)
        _prepare(folder, settings, key)
        manifest = _manifest(folder)
        assert manifest is not None, "it was just written"
        return _opened(folder, manifest)


def does_not_fit(source: Any, ranks: int = 1) -> bool:  # noqa: ANN401 - any source
    """Return whether a table in files, at five times the size of its rows, would take more memory than the machine has.

    The size counts Parquet files uncompressed and other files as stored. Memory that other programs use does not count, so
    that all ranks, and later runs, get the same answer.

    Args:
        source: The source of a table.
        ranks: Number of processes on this machine that will hold the table, at least those that a launcher has started.
    """
    if not isinstance(source, str | Path) and not is_paths(source):
        return False
    files = files_of(source)
    if not all(file.is_file() for file in files):
        return False
    ranks = max(ranks, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return table_bytes(files) * _LARGER_IN_MEMORY * ranks > memory_limit()


def default_folder(source: Any) -> Path:  # noqa: ANN401 - paths
    """Return the folder in the user's cache in which to prepare a source.

    Raises:
        BadValueError: The user has no home folder.
    """
    names = "\n".join(str(file.absolute()) for file in files_of(source))
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        problem = "there is no home folder to keep the prepared table in"
        raise BadValueError(problem, "Name a folder (prepared=, --prepared)") from error
    return cache / "tabvision" / f"prepared-{hashlib.sha256(names.encode()).hexdigest()[:16]}"


def _prepare(folder: Path, settings: TableSettings, key: Mapping[str, Any]) -> None:
    """Prepare a table in a folder, all or nothing."""
    with replaced_whole(folder) as partial:
        scan = Scan(settings, partial / "parts")
        logger.info(f"Preparing {described(scan.tables[0].files)} in {str(folder)!r} …")
        schema = scan.run()
        arrays = _encode(scan, schema, partial)
        if _key(settings) != key:
            problem = f"{described(scan.tables[0].files)} changed while it was prepared"
            raise BadValueError(problem, "Start again when the files are complete")
        manifest = {"key": key, "schema": schema.to_dict(), "num_rows": int(scan.sizes.sum()), **arrays}
        (partial / "parts").unlink()
        (partial / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _encode(scan: Scan, schema: Schema, folder: Path) -> dict[str, Any]:
    """Read all rows again, write the arrays, and return the names of the arrays and of the parts."""
    settings, num_rows = scan.settings, int(scan.sizes.sum())
    names = {code: settings.part or PARTS[code] for code in np.flatnonzero(scan.sizes).tolist()}
    lengths = {f"rows_{name}": int(scan.sizes[code]) for code, name in names.items()}
    kind = np.int32 if scan.num_all < 2**31 else np.int64
    part_of = np.memmap(folder / "parts", dtype=np.uint8, mode="r")
    fraction, texts = _SHOWN / np.maximum(scan.sizes, 1), dict.fromkeys(scan.categories, "str")
    start, weights = 0, np.zeros(len(PARTS))
    shown, encoded = list[pd.DataFrame](), list[dict[str, NDArray[Any]]]()
    with ArrayFiles(folder, num_rows, lengths) as arrays:
        for file, frame, every in scan.blocks(scan.columns, scan.categories):
            codes = np.asarray(part_of[every[0] : every[-1] + 1])
            if not len(kept := np.flatnonzero(codes != LEFT_OUT)):
                continue
            rows, codes, numbers = taken(frame, kept), codes[kept], every[kept]
            with named_file(file):
                found = _encoded(settings, schema, rows)
            positions = np.arange(start, start + len(kept), dtype=kind)
            found |= {f"rows_{name}": positions[codes == code] for code, name in names.items()}
            found |= {"index": numbers.astype(kind)} if num_rows < scan.num_all else {}
            arrays.write(found)
            weights += np.bincount(codes, found.get("weight", np.ones(len(codes))), len(PARTS))
            is_shown = uniforms(settings.seed, 2, numbers, 1)[:, 0] < fraction[codes]
            found = {_POSITION: positions, _PART: codes} | {name: found[name] for name in found if name not in lengths}
            shown.append(rows[is_shown].astype(texts))
            encoded.append({name: array[is_shown] for name, array in found.items()})
            start += len(kept)
    if useless := [code for code in names if not weights[code]]:
        problem = f"the weights of all {count(int(scan.sizes[useless[0]]), f'{names[useless[0]]} row')} are 0"
        raise BadValueError(problem, "Give some rows a weight above 0, or leave weight out")
    _write_sample(folder, shown, encoded)
    return {"arrays": [name for name in arrays.files if name not in lengths], "parts": list(names.values())}


def _write_sample(folder: Path, shown: Sequence[pd.DataFrame], encoded: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Write the sample: some rows of each block as in the files, and their arrays."""
    joined(shown).reset_index(drop=True).to_feather(folder / f"{_SAMPLE}.feather")
    (folder / _SAMPLE).mkdir()
    for name in encoded[0]:
        np.save(folder / _SAMPLE / f"{name}.npy", np.concatenate([arrays[name] for arrays in encoded]))


def _encoded(settings: TableSettings, schema: Schema, rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Return the arrays of some rows; codes have the smallest type that fits."""
    continuous, categorical = to_arrays(schema, Columns(rows))
    num_codes = max((it.cardinality for it in schema.categorical), default=1)
    found: dict[str, NDArray[Any]] = {"continuous": continuous, "categorical": categorical.astype(smallest(num_codes))}
    if settings.part == "predict":
        return found
    target = encode_target(rows, schema.target)
    found["target"] = target if target.dtype.kind == "f" else target.astype(smallest(len(schema.classes)))
    if isinstance(settings.split, GroupSplit) and settings.part is None:
        found["group"] = settings.split.hashes(rows)
    columns = {"weight": settings.weight, "draws": settings.sampler if settings.sampler != "balanced" else None}
    return found | {name: row_weights(rows, column) for name, column in columns.items() if column}


def _opened(folder: Path, manifest: Mapping[str, Any]) -> PreparedTable:
    files = dict[str, mmap.mmap]()
    tensors = {name: mapped(folder / f"{name}.npy", files) for name in manifest["arrays"]}
    rows = {name: mapped(folder / f"rows_{name}.npy", files) for name in manifest["parts"]}
    draws, groups = tensors.pop("draws", None), tensors.pop("group", None)
    frame = frame_of_arrow(arrow_table(folder / f"{_SAMPLE}.feather", ".feather"))
    # stored by itself, since gathering it from the arrays would read all of their pages
    codes, positions, *found = (np.load(folder / _SAMPLE / f"{name}.npy") for name in (_PART, _POSITION, *tensors))
    of_sample = dict(zip(tensors, map(torch.from_numpy, found), strict=True))
    frame.index = pd.Index(of_sample["index"].numpy() if "index" in of_sample else positions)
    of_sample = {name: each if each.is_floating_point() else each.long() for name, each in of_sample.items()}
    of_sample["index"] = torch.arange(len(positions))
    in_order = zip(np.unique(codes), manifest["parts"], strict=True)  # a part in the middle may be missing
    parts = {name: torch.from_numpy(np.flatnonzero(codes == code)) for code, name in in_order}
    schema = Schema.from_dict(manifest["schema"])
    sample = PreparedSample(frame, of_sample, parts, torch.from_numpy(positions))
    return PreparedTable(folder, schema, MappedTensors(tensors, files), rows, draws, groups, sample)


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder, or None if it is not a prepared table."""
    try:
        found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "key" in found else None


def _key(settings: TableSettings) -> dict[str, Any]:
    """Return what a prepared table depends on: each file's size, time and sampled bytes, and hashes of the settings."""

    def plain(value: Any) -> Any:  # noqa: ANN401 - any setting
        if isinstance(value, Split):
            return [type(value).__name__, vars(value)]
        if isinstance(value, np.ndarray):
            return hashlib.sha256(value.tobytes()).hexdigest()
        return value.to_dict() if isinstance(value, Schema | Task) else str(value)

    sources = [settings.source, *getattr(settings.split, "sources", ())]
    files = {str(file.absolute()): _stamp(file) for source in sources for file in files_of(source)}
    texts = {it.name: json.dumps(getattr(settings, it.name), default=plain) for it in fields(settings)}
    hashes = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in texts.items()}
    return {"version": __version__, "files": files, **hashes}


def _stamp(file: Path) -> list[Any]:
    facts, found = file.stat(), hashlib.sha256()
    with file.open("rb") as opened:
        for start in sorted({0, max(0, facts.st_size // 2), max(0, facts.st_size - _PROBED)}):
            opened.seek(start)
            found.update(opened.read(_PROBED))
    return [facts.st_size, facts.st_mtime_ns, found.hexdigest()]


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what changed between the keys of two tables, as the start of a sentence."""
    files, known = now["files"], before.get("files", {})
    if changed := [name for name in files if name in known and known[name] != files[name]]:
        return f"{changed[0]!r} has changed"
    if files.keys() != known.keys():
        name = min(files.keys() ^ known.keys())
        return f"{name!r} {'was added' if name in files else 'is no longer there'}"
    different = [name for name in now if before.get(name) != now[name]]
    return f"{', '.join(different)} {'has' if len(different) == 1 else 'have'} changed"
