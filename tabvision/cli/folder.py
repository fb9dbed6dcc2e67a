"""The folder of a run: check that it is free, lock it for one run, and clear it of an older one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tabvision.cli.jobs import CHECKPOINTS
from tabvision.data.tables.files import name_of
from tabvision.data.tables.read import Source
from tabvision.data.tables.write import check_not_read, lock, writing
from tabvision.errors import BadValueError, speaking

RESUME_FILE = "resume.yaml"  # instead of a recipe, which would start with a new network
_WHO = "tabvision train"
PROBE, REFIT = "probe.ckpt", "refit.ckpt"  # linear heads on a frozen body: the pretrained one, and the trained one
TRAINED = "trained.ckpt"  # the network that one of them replaced in best.ckpt, kept until the run is finished
METRICS_BEFORE = "metrics.before.csv"  # metrics of earlier epochs, kept until a resumed run has started to log
OUT_OF_FOLD = "out_of_fold.parquet"  # a bag's predictions for all rows of a prepared table
_FILES = (
    *("report.html", "best.ckpt", "last.ckpt", PROBE, REFIT, TRAINED, "metrics.csv", METRICS_BEFORE),
    *("metrics.json", "predictions.csv", OUT_OF_FOLD),
    *("recipe.yaml", RESUME_FILE, "hparams.yaml"),
    "bad_files.csv",
    "chain.jsonl",
)


@speaking(_WHO)
def free_folder(out: str | None, data: Source, *, overwrite: bool, reads: Sequence[object] = ()) -> Path:
    """Return the folder for a run, without creating or removing anything.

    Args:
        out: The folder given by the user, or None for runs/NAME-OF-DATA.
        data: The data.
        overwrite: Whether the folder may contain a run, which will be removed.
        reads: Other files that the run reads.

    Raises:
        BadValueError: The folder already contains a run, or a file that the run reads, or is a file.
    """
    folder = Path(out).expanduser() if out else Path("runs") / name_of(data)
    if is_worker():
        return folder
    if folder.exists() and not folder.is_dir():
        raise BadValueError(f"{folder} is a file, not a folder", "Choose another folder with --out")
    held = [name for name in _FILES if (folder / name).exists()]
    for name in held:
        check_not_read(folder / name, [*(data if isinstance(data, list) else [data]), *reads])
    if held and not overwrite:
        problem = f"{folder} holds a run already ({', '.join(held)})"
        remedy = "Choose another folder with --out, or replace the run with --overwrite"
        if "last.ckpt" in held and not is_finished(folder):
            problem = f"{folder} holds a run that was interrupted"
            remedy = (
                f"Continue it with --resume {folder}, replace it with --overwrite, or choose another folder with --out"
            )
        raise BadValueError(problem, remedy)
    return folder


def recipe_file(folder: Path) -> Path:
    """Return the file that describes the run in a folder: its recipe, or the one used instead."""
    return found if (found := folder / RESUME_FILE).is_file() else folder / "recipe.yaml"


def chosen_by_validation(folder: Path) -> str:
    """Return the end of a sentence on a run's validation rows: what they were used to choose."""
    heads = ", and the best of network, linear probe and new head" if (folder / PROBE).exists() else ""
    return f", which also chose the epoch{heads}"


def is_finished(folder: Path) -> bool:
    """Return whether the run in a folder is finished: it writes metrics.json last."""
    return (folder / "metrics.json").exists()


def learned_from_validation(folder: Path) -> bool:
    """Return whether the best.ckpt of a finished run was refitted with the validation rows.

    Raises:
        BadValueError: The run's metrics.json is damaged.
    """
    if not is_finished(folder):
        return False
    file = folder / "metrics.json"
    try:
        return "refit" in dict(json.loads(file.read_bytes()))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadValueError(f"{str(file)!r} is damaged ({error})", "Restore it, or train again") from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Lock a run's folder, so that no other run writes to it or removes it; the lock ends with the process.

    Raises:
        BadValueError: Another run has locked it.
    """
    if is_worker() or os.name == "nt":  # Windows cannot open a folder
        yield
        return
    with speaking(_WHO), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    try:
        try:
            lock(held)
        except BlockingIOError as error:
            problem = f"another run is writing to {folder}"
            raise BadValueError(_WHO, problem, "Wait until it ends, or choose another folder with --out") from error
        yield
    finally:
        os.close(held)


def clear(folder: Path) -> None:
    """Create the folder, or remove the files of an older run from it."""
    if is_worker():
        return
    with speaking(_WHO), writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file in [
            *(folder / name for name in _FILES),
            *folder.glob("bad_files_rank*.csv"),
            *folder.glob("tensorboard/events.*"),
            *folder.glob(f"{CHECKPOINTS}/step=*.ckpt"),
        ]:
            file.unlink(missing_ok=True)


@contextmanager
def cleared_if_nothing_is_saved(folder: Path) -> Iterator[None]:
    """Remove what the run wrote if it fails before it saves a network, so that the next start finds the folder free."""
    try:
        yield
    except BaseException:
        if not any((folder / name).exists() for name in ("best.ckpt", "last.ckpt")):
            clear(folder)
        raise


def is_worker() -> bool:
    """Return whether this is not the first process of the run, the only one that manages the folder."""
    return int(os.environ.get("LOCAL_RANK", "0")) != 0 or int(os.environ.get("NODE_RANK", "0")) != 0
