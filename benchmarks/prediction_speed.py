"""Predictions per second: flights from prepared tensors, raw flights by the hundred thousand, and single raw flights.

    python benchmarks/prediction_speed.py --threads 1 --out benchmarks/results/prediction_speed.json

The net is the recipe's after a few steps, since weights do not affect speed. Prepared tensors go through
`Trainer.predict` and `gather` (every row's probabilities in one tensor, in order), and through the module alone. Raw
rows go through `Predictor`, which needs only the checkpoint, and come out as labels and probabilities in a frame.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import unheard
from benchmarks.tables import SETS
from tabvision.data import TabularDataModule
from tabvision.data.base import CPU_EVAL_BATCH_SIZE
from tabvision.data.loaders import TensorLoader
from tabvision.inference import Predictor, gather
from tabvision.modules import TabularModule

RAW_ROWS = 100_000
EVAL_BATCH = CPU_EVAL_BATCH_SIZE  # the batch size of the datamodule's own loaders
WARM_UP = 50  # single rows to predict before timing starts


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    torch.set_num_threads(options.threads)
    result = {
        **run_facts(options.threads),
        **measure(options.rounds, options.singles, options.raw_rows, options.batch_size),
    }
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--singles", type=int, default=2_000, help="single rows to predict")
    parser.add_argument("--batch-size", type=int, default=EVAL_BATCH, help="of prepared rows")
    parser.add_argument("--raw-rows", type=int, default=RAW_ROWS, help="rows of the raw frame")
    return parser.parse_args(words)


def measure(rounds: int, singles: int, raw_rows: int, batch_size: int) -> dict[str, Any]:
    """Return all figures; the ways to predict many rows alternate."""
    data = SETS["flights"].make(SETS["flights"].batch_size)
    tensors = {name: data.parts["train"].tensors[name] for name in ("continuous", "categorical")}
    loader = TensorLoader(tensors, batch_size=batch_size)
    frame = data.frame.drop(columns="late")
    raw = frame.iloc[:raw_rows]
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "net.ckpt"
        model = briefly_trained(data, path)
        predictor = Predictor(path, device="cpu")
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "trainer_rows_per_second": (len(frame), lambda: through_trainer(model, loader)),
        "module_rows_per_second": (len(frame), lambda: through_module(model, loader)),
        "raw_rows_per_second": (len(raw), lambda: predictor.predict(raw)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for name, (_, answer) in [*ways.items(), *(list(ways.items()) * rounds)]:
        speeds[name].append(ways[name][0] / seconds_of(answer))
    return {
        "rows": len(frame),
        "raw_rows": len(raw),
        "batch_size": batch_size,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **{name: {"median": statistics.median(found[1:]), "rounds": found[1:]} for name, found in speeds.items()},
        "single_row_milliseconds": single_rows(predictor, frame.sample(singles, random_state=0).to_dict("records")),
    }


def briefly_trained(data: TabularDataModule, path: Path) -> TabularModule:
    """Return a module after a few steps, and save it."""
    model = TabularModule(data.schema)
    with unheard():
        trainer = pl.Trainer(max_steps=5, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        trainer.fit(model, data.train_dataloader())
        trainer.save_checkpoint(path)
    return model.eval()


def through_trainer(model: TabularModule, loader: TensorLoader) -> object:
    with unheard():
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            callbacks=[TQDMProgressBar()],
        )
        return gather(trainer.predict(model, loader))


@torch.inference_mode()
def through_module(model: TabularModule, loader: TensorLoader) -> object:
    model.eval()
    return torch.cat([model.predict_step(batch, 0)["predictions"] for batch in loader])


def single_rows(predictor: Predictor, rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return percentiles of the milliseconds for one raw row."""
    for row in rows[:WARM_UP]:
        predictor.predict(row)
    times = torch.tensor([seconds_of(partial(predictor.predict, row)) for row in rows], dtype=torch.float64)
    return {name: float(times.quantile(share)) * 1e3 for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table."""
    single = result["single_row_milliseconds"]
    rows = [
        [f"{result['rows']:,} prepared rows, Trainer.predict and gather", _rate(result["trainer_rows_per_second"])],
        [f"{result['rows']:,} prepared rows, the module alone", _rate(result["module_rows_per_second"])],
        [f"{result['raw_rows']:,} raw rows to a frame, Predictor", _rate(result["raw_rows_per_second"])],
        ["one raw row, Predictor", f"{single['p50']:.2f} ms (95 % within {single['p95']:.2f} ms)"],
    ]
    return f"{table(['prediction, flights', ''], rows)}\n\n{describe_run(dict(result))}."


def _rate(found: Mapping[str, Any]) -> str:
    return f"{found['median']:,.0f} rows/s"


if __name__ == "__main__":
    main()
