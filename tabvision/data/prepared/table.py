"""A prepared table: arrays in a folder, made once, mapped by every process that trains, and used again by later runs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tabvision import __version__
from tabvision.data.prepared.scan import LEFT_OUT, PARTS, KindsRefuted, RawSample, Scan, TableSettings
from tabvision.data.rows import row_weights
from tabvision.data.splits.base import Split
from tabvision.data.tables.blocks import check_paths, described, named_file, table_bytes
from tabvision.data.tables.files import files_of
from tabvision.data.tables.write import writing
from tabvision.data.targets import encode_target
from tabvision.errors import BadValueError, UnwritableFileError, count
from tabvision.preprocess import Columns, to_arrays
from tabvision.schema import Schema
from tabvision.tasks import Task, own_task
from tabvision.tasks.registry import KINDS

try:
    import fcntl
except ImportError:  # where there is none, processes do not wait for each other
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("tabvision")

_MANIFEST = "prepared.json"
_PROBED = 1 << 16  # bytes of a file's start, middle and end by which a change is noticed
_MOST_LISTED = 1_000  # numbers of a setting
_LARGER_IN_MEMORY = 5  # a table of 180 MB takes 624 MB as it is read, encoded and split; the rest is for other programs


@final
@dataclass(frozen=True)
class PreparedTable:
    """A table whose encoded rows are mapped from the files of a folder.

    Args:
        schema: What was learned of the training rows.
        tensors: The tensors of a batch by name.
        rows: The positions of the rows of each part.
        draws: How often each row is drawn, in proportion, if a column says so.
        sample: Some rows of each part as they stand in the files, their tensors, and the parts among them. The frame's index
            is the number of each row in the source.
    """

    schema: Schema
    tensors: Mapping[str, Tensor]
    rows: Mapping[str, Tensor]
    draws: Tensor | None
    sample: tuple[pd.DataFrame, dict[str, Tensor], dict[str, Tensor]]


def prepare(folder: Path, settings: TableSettings) -> PreparedTable:
    """Return the table that a folder holds if the settings are the same; else prepare it there, whole or not at all.

    Of several processes on a machine one prepares, and the others wait.

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
    with _one_at_a_time(folder), own_task(None if task is None or type(task) in KINDS else type(task)):
        key, manifest = _key(settings), _manifest(folder)
        if manifest is not None and manifest["key"] == key:
            logger.info(f"{count(manifest['num_rows'], 'row')} prepared before, in {str(folder)!r}.")
            return _opened(folder, manifest)
        if manifest is not None:
            logger.info(f"{_change(manifest['key'], key)} since {str(folder)!r} was prepared, so it is prepared anew.")
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            remedy = "Pass an empty or a new folder (prepared=, --prepared)"
            raise BadValueError(f"{str(folder)!r} holds something else than a prepared table", remedy)
        _prepare(folder, settings, key)
        found = _manifest(folder)
        assert found is not None, "it was just written"
        return _opened(folder, found)


def does_not_fit(source: Any) -> bool:  # noqa: ANN401 - any source
    """Return whether the files of a table would take more than the machine's memory: five times the size of their rows.

    The size is that of Parquet files without compression, of other files as they are stored; processes that a launcher has
    started on this machine share the memory. What others use of it does not count, so that all ranks, and later runs, find
    the same.
    """
    paths = [source] if isinstance(source, str | Path) else source
    if not isinstance(paths, list | tuple) or not all(isinstance(each, str | Path) for each in paths):
        return False
    files = files_of(source)
    if not all(file.is_file() for file in files):
        return False
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return table_bytes(files) * _LARGER_IN_MEMORY * ranks > memory_limit()


def default_folder(source: Any) -> Path:  # noqa: ANN401 - paths
    """Return the folder in the user's cache for the files of a source."""
    names = "\n".join(str(file.absolute()) for file in files_of(source))
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "tabvision" / f"prepared-{hashlib.sha256(names.encode()).hexdigest()[:16]}"


def memory_limit() -> int:
    """Return the bytes of memory of the machine, or of the container that this process is in."""
    found = [1 << 62]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(found)


def _prepare(folder: Path, settings: TableSettings, key: Mapping[str, Any]) -> None:
    """Prepare into a hidden folder beside, which replaces the folder at the end; what an interruption left is removed."""
    partial, old = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
    for each in (partial, old):
        shutil.rmtree(each, ignore_errors=True)
    with writing(folder):
        partial.mkdir()
        try:
            scan = Scan(settings, partial / "parts")
            logger.info(f"Preparing {described(scan.tables[0].files)} in {str(folder)!r} …")
            while True:
                schema = scan.run()
                try:
                    arrays = _encode(scan, schema, partial)
                    break
                except KindsRefuted as refuted:
                    scan.infer_with(refuted.rows)
            if _key(settings) != key:
                problem = f"{described(scan.tables[0].files)} changed while it was prepared"
                raise BadValueError(problem, "Start again when the files are complete")
            manifest = {"key": key, "schema": schema.to_dict(), "num_rows": int(scan.sizes.sum()), **arrays}
            (partial / "parts").unlink()
            (partial / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            if folder.exists():
                folder.replace(old)
            partial.replace(folder)
        finally:
            for each in (partial, old):
                shutil.rmtree(each, ignore_errors=True)


Layout = dict[str, tuple[np.dtype[Any], tuple[int, ...]]]  # the type and shape of each array


def _layout(scan: Scan, schema: Schema, parts: Mapping[str, int]) -> Layout:
    """Return the arrays of a table; codes have the smallest type that holds them."""
    settings, num_rows = scan.settings, int(scan.sizes.sum())
    index = np.dtype(np.int32 if scan.num_all < 2**31 else np.int64)
    codes = _smallest(max((it.cardinality for it in schema.categorical), default=1))
    layout: Layout = {
        "continuous": (np.dtype(np.float32), (num_rows, len(schema.continuous))),
        "categorical": (codes, (num_rows, len(schema.categorical))),
    }
    if settings.part != "predict":
        one = encode_target(scan.head().iloc[:1], schema.target)
        kind = np.dtype(np.float32) if one.dtype.kind == "f" else _smallest(len(schema.classes))
        layout["target"] = (kind, (num_rows, *one.shape[1:]))
        columns = {"weight": settings.weight, "draws": settings.sampler if settings.sampler != "balanced" else None}
        layout |= {name: (np.dtype(np.float32), (num_rows,)) for name, column in columns.items() if column}
    if num_rows < scan.num_all:
        layout["index"] = (index, (num_rows,))
    return layout | {f"rows_{name}": (index, (rows,)) for name, rows in parts.items()}


def _encode(scan: Scan, schema: Schema, folder: Path) -> dict[str, Any]:
    """Read all rows again, write the arrays, and return their names and those of the parts."""
    whole = scan.settings.part  # all rows are of one part
    parts = {whole or name: int(rows) for name, rows in zip(PARTS, scan.sizes, strict=True) if rows}
    layout = _layout(scan, schema, parts)
    needed = sum(kind.itemsize * int(np.prod(shape, dtype=np.int64)) for kind, shape in layout.values())
    if needed > shutil.disk_usage(folder).free:
        raise UnwritableFileError(folder.parent, OSError(errno.ENOSPC, ""))
    part_of = np.memmap(folder / "parts", dtype=np.uint8, mode="r")
    raw, start, weights = RawSample(scan.categories), 0, dict.fromkeys(parts, 0.0)
    with contextlib.ExitStack() as stack:
        write = {name: stack.enter_context(_array(folder / f"{name}.npy", *each)) for name, each in layout.items()}
        for file, frame, numbers in scan.blocks(scan.columns, scan.categories):
            codes = np.asarray(part_of[numbers[0] : numbers[-1] + 1])
            kept = np.flatnonzero(codes != LEFT_OUT)
            rows, codes = frame if len(kept) == len(frame) else frame.iloc[kept], codes[kept]
            if not len(kept):
                continue
            positions = np.arange(start, start + len(kept))
            start += len(kept)
            with named_file(file), scan.checking(rows):
                found = {"index": numbers[kept], **_encoded(scan.settings, schema, rows, layout)}
            for name in parts:
                is_in = codes == (0 if whole else PARTS.index(name))
                found[f"rows_{name}"] = positions[is_in]
                weights[name] += float(found["weight"][is_in].sum()) if "weight" in found else 1.0
            for name, (kind, _) in layout.items():
                write[name](found[name].astype(kind, copy=False))
            raw.add(rows, codes, numbers[kept], positions)
    if useless := [name for name, total in weights.items() if not total]:
        problem = f"the weights of all {count(parts[useless[0]], f'{useless[0]} row')} are 0"
        raise BadValueError(problem, "Give some rows a weight above 0, or leave weight out")
    raw.save(folder)
    return {"arrays": [name for name in layout if not name.startswith("rows_")], "parts": list(parts)}


def _encoded(settings: TableSettings, schema: Schema, rows: pd.DataFrame, layout: Layout) -> dict[str, NDArray[Any]]:
    """Return the arrays of some rows."""
    continuous, categorical = to_arrays(schema, Columns(rows))
    found: dict[str, NDArray[Any]] = {"continuous": continuous, "categorical": categorical}
    if "target" in layout:
        found["target"] = encode_target(rows, schema.target)
    for name, column in (("weight", settings.weight), ("draws", settings.sampler)):
        if name in layout and column is not None:
            found[name] = row_weights(rows, column)
    return found


def _smallest(num_codes: int) -> np.dtype[Any]:
    """Return the smallest type that holds codes up to a number, of those that torch indexes."""
    return np.dtype(next((kind for kind in (np.uint8, np.int16) if num_codes <= np.iinfo(kind).max), np.int32))


@contextlib.contextmanager
def _array(path: Path, kind: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[Callable[[NDArray[Any]], Any]]:
    """Yield a function that appends rows to a file of numpy's format; written, not mapped, so that memory stays flat."""
    with path.open("wb") as file:
        facts = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, facts)
        yield lambda rows: file.write(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")


def _opened(folder: Path, manifest: Mapping[str, Any]) -> PreparedTable:
    def mapped(name: str) -> Tensor:
        return torch.from_numpy(np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")))  # shared until written to

    tensors = {name: mapped(name) for name in manifest["arrays"]}
    rows = {name: mapped(f"rows_{name}") for name in manifest["parts"]}
    draws = tensors.pop("draws", None)
    frame, positions = pd.read_feather(folder / "sample.feather"), torch.from_numpy(np.load(folder / "sample.npy"))
    frame.index = pd.Index(tensors["index"][positions].numpy() if "index" in tensors else positions.numpy())
    of_sample = {name: tensor[positions] for name, tensor in tensors.items()}
    of_sample = {name: each if each.is_floating_point() else each.long() for name, each in of_sample.items()}
    of_sample["index"] = torch.arange(len(positions))
    codes = np.load(folder / "sample_parts.npy")
    parts = {PARTS[code]: torch.from_numpy(np.flatnonzero(codes == code)) for code in np.unique(codes)}
    schema = Schema.from_dict(manifest["schema"])
    return PreparedTable(schema, tensors, rows, draws, (frame, of_sample, parts))


def _manifest(folder: Path) -> dict[str, Any] | None:
    """Return what a folder says of itself; None if it is no prepared table."""
    try:
        found: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "key" in found else None


def _key(settings: TableSettings) -> dict[str, Any]:
    """Return what a prepared table depends on, as plain data: sizes, times and some bytes of the files, and settings."""
    plain = {each.name: _plain(getattr(settings, each.name)) for each in fields(settings)}
    sources = [settings.source, *getattr(settings.split, "sources", ())]
    files = {str(file.absolute()): _stamp(file) for source in sources for file in files_of(source)}
    return {"version": __version__, "files": files, **json.loads(json.dumps(plain))}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a setting is
    if isinstance(value, Schema | Task):
        return value.to_dict()
    if isinstance(value, Split):
        return [type(value).__name__, {name: _plain(each) for name, each in vars(value).items()}]
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return hashlib.sha256(value.tobytes()).hexdigest()
    if isinstance(value, Sequence) and not isinstance(value, str):
        plain = [_plain(each) for each in value]
        return plain if len(plain) < _MOST_LISTED else hashlib.sha256(json.dumps(plain).encode()).hexdigest()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _stamp(file: Path) -> list[Any]:
    facts, found = file.stat(), hashlib.sha256()
    with file.open("rb") as opened:
        for start in sorted({0, max(0, facts.st_size // 2), max(0, facts.st_size - _PROBED)}):
            opened.seek(start)
            found.update(opened.read(_PROBED))
    return [facts.st_size, facts.st_mtime_ns, found.hexdigest()]


def _change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what differs between the keys of two tables."""
    files, known = now["files"], before.get("files", {})
    if changed := [name for name in files if name in known and known[name] != files[name]]:
        return f"{changed[0]!r} has changed"
    if files.keys() != known.keys():
        name = min(files.keys() ^ known.keys())
        return f"{name!r} {'was added' if name in files else 'is no longer there'}"
    different = [name for name in now if before.get(name) != now[name]]
    return f"{', '.join(different)} {'has' if len(different) == 1 else 'have'} changed"


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process on this machine into the block at a time; a process that dies leaves it."""
    if fcntl is None:
        yield
        return
    with writing(folder):
        file = folder.with_name(f".{folder.name}.lock").open("w")
    with file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
