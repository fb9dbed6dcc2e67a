"""Collect predictions from all ranks: gather them in memory, or write a Parquet shard per rank and merge the shards."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.data.tables.files import PARQUET_SUFFIXES
from tabvision.data.tables.write import check_destination, writing, written_whole
from tabvision.errors import BadTypeError, BadValueError, MissingFileError, count, listed, speaking
from tabvision.inference.answers import answer_frame
from tabvision.inference.batches import finite_answers
from tabvision.lightning import Callback, check_trainer
from tabvision.modules import SupervisedModule
from tabvision.nets.layers import of_all_ranks

_MERGE_ROWS = 1_000_000  # rows held in memory at once
_GROUP_BYTES = 1 << 22  # a shard's row groups: with one per batch, merging would take quadratic time in the rows
_INDEX = "row"
_FACTS = b"tabvision"  # the key of our facts in a shard's metadata


@final
class PredictionWriter(Callback):
    """Write the answers of `trainer.predict` to Parquet batch by batch, one file per rank, without gathering anything.

    Lightning's own `BasePredictionWriter` gets row numbers from the sampler; here they come from the batch itself.

    Run `trainer.predict(..., return_predictions=False)`, then `merge_predictions(folder, out)`. A shard has the suffix
    `.partial` until its rank has finished. Columns: `row` (the number in the source), then those of `Predictor`.

    Args:
        folder: The folder for the shards; created if missing, and must not hold shards of another run.
        proba: Whether to write the probabilities.

    Raises:
        BadValueError: The folder already holds shards, or there are several loaders.
    """

    def __init__(self, folder: str | Path, *, proba: bool = True) -> None:
        self.folder = Path(folder).expanduser()
        self.proba = proba
        self._writer: Any = None
        self._answers: list[Any] = []  # those not written yet
        self._num_rows = 0
        self._total: int | None = None
        self._run = ""

    @override
    @speaking()
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        check_trainer(trainer)
        if (num_loaders := len(trainer.num_predict_batches)) > 1:
            problem = f"there must be one loader of rows to predict, got {num_loaders}"
            raise BadValueError(problem, "Predict one loader at a time, each into a folder of its own")
        if not isinstance(pl_module, SupervisedModule):
            problem = f"the module must be a tabvision module, got {type(pl_module).__name__}"
            raise BadTypeError(problem, "Pass one, or write a callback of your own")
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if there := sorted(path.name for path in self.folder.glob("rank-*")):
            raise BadValueError(f"{str(self.folder)!r} already holds {listed(there)}", "Name an empty folder")
        # this waits for all ranks, so that none writes before all have checked
        self._run = trainer.strategy.broadcast(uuid.uuid4().hex)
        sampler = getattr(getattr(trainer.predict_dataloaders, "batch_sampler", None), "sampler", None)
        rows = getattr(sampler, "rows", None)  # the number over all ranks, for tabvision's loaders
        self._writer, self._answers = None, []
        self._num_rows, self._total = 0, None if rows is None else len(rows)

    @override
    @speaking()
    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, SupervisedModule)  # checked at the start
        rows = outputs["index"].cpu().numpy()
        predictions = finite_answers(outputs["predictions"].cpu().numpy())
        if not len(rows):
            return
        self._answers.append(self._table(pl_module, rows, predictions))
        self._num_rows += len(rows)
        if sum(table.nbytes for table in self._answers) >= _GROUP_BYTES:
            self._write(self._partial(trainer))

    def _table(self, module: SupervisedModule, rows: NDArray[np.int64], predictions: NDArray[Any]) -> Any:  # noqa: ANN401
        """Return the row numbers and answers of a batch as an Arrow table."""
        frame = answer_frame(module.schema, predictions, proba=self.proba)
        frame.insert(0, _INDEX, rows)
        return pa.Table.from_pandas(frame, preserve_index=False)

    def _write(self, partial: Path) -> None:
        """Write the answers held so far as one row group."""
        if not self._answers:
            return
        with writing(partial):
            if self._writer is None:
                self._writer = pa.parquet.ParquetWriter(partial, self._answers[0].schema)
            whole = pa.concat_tables([table.cast(self._writer.schema) for table in self._answers])
            self._writer.write_table(whole)
        self._answers = []

    @override
    @speaking()
    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, SupervisedModule)
        partial = self._partial(trainer)
        if not self._num_rows:  # a rank without rows writes an empty shard
            no_rows = np.empty((0, pl_module.task.num_predictions), dtype=np.float32)
            self._answers = [self._table(pl_module, np.empty(0, dtype=np.int64), no_rows)]
        self._write(partial)
        facts = {
            "run": self._run,
            "rank": trainer.global_rank,
            "ranks": trainer.world_size,
            "rows": self._num_rows,
            "total": self._total,
        }
        with writing(partial):
            self._writer.add_key_value_metadata({_FACTS: json.dumps(facts).encode()})
            self._writer.close()
            self._writer = None
            partial.replace(partial.with_suffix(""))
        trainer.strategy.barrier()

    def _partial(self, trainer: pl.Trainer) -> Path:
        return self.folder / f"rank-{trainer.global_rank:05}.parquet.partial"


@speaking("merge_predictions")
def merge_predictions(folder: str | Path, out: str | Path, *, rows: int | None = None, overwrite: bool = False) -> int:
    """Merge the shards of all ranks into one Parquet file in the order of the source, and return the number of rows.

    At most a million rows are held in memory.

    Args:
        folder: The folder of a `PredictionWriter`.
        out: A .parquet file.
        rows: The number of predicted rows; None for the loader's, as stated in the shards.
        overwrite: Whether to replace an existing file.

    Raises:
        MissingFileError: There are no shards.
        BadValueError: A rank is missing or has not finished, or a row is missing or occurs twice.
    """
    path = check_destination(out, suffixes=PARQUET_SUFFIXES, overwrite=overwrite, reads=[folder])
    shards = _checked_shards(Path(folder).expanduser())
    numbers = _row_numbers(shards, rows)
    source = pa.dataset.dataset([str(shard) for shard in shards], format="parquet")
    row = pa.dataset.field(_INDEX)
    with written_whole(path) as partial, pa.parquet.ParquetWriter(partial, source.schema.remove_metadata()) as writer:
        for start in range(0, len(numbers), _MERGE_ROWS):
            block = numbers[start : start + _MERGE_ROWS]
            part = source.to_table(filter=(row >= int(block[0])) & (row <= int(block[-1]))).sort_by(_INDEX)
            writer.write_table(part.replace_schema_metadata(None))
    return len(numbers)


def _checked_shards(folder: Path) -> list[Path]:
    if unfinished := sorted(path.name for path in folder.glob("rank-*.partial")):
        problem = f"{listed(unfinished)} in {str(folder)!r} is not finished"
        raise BadValueError(problem, "Predict again; a rank was interrupted")
    shards = sorted(folder.glob("rank-*.parquet"))
    if not shards:
        raise MissingFileError(f"no shards in {str(folder)!r}", "Pass the folder of a PredictionWriter")
    facts = [_facts(shard) for shard in shards]
    if (runs := len({fact.get("run") for fact in facts})) > 1:
        problem = f"{str(folder)!r} holds shards of {runs} runs"
        raise BadValueError(problem, "Copy the shards of all ranks of one run into one folder")
    ranks = {fact["ranks"] for fact in facts}
    if len(ranks) > 1 or [fact["rank"] for fact in facts] != list(range(max(ranks))):
        problem = f"{str(folder)!r} holds {count(len(shards), 'shard')} of a run on {listed(sorted(ranks))} ranks"
        raise BadValueError(problem, "Copy the shards of all ranks of one run into one folder")
    return shards


def _facts(shard: Path) -> dict[str, Any]:
    try:
        metadata = pa.parquet.read_metadata(shard)
        facts: dict[str, Any] = json.loads(metadata.metadata[_FACTS])
        if facts["rows"] == metadata.num_rows:
            return facts
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        problem = f"{str(shard)!r} is damaged or not a shard ({type(error).__name__})"
        raise BadValueError(problem, "Predict again") from error
    raise BadValueError(f"{str(shard)!r} lacks rows that its rank wrote", "Predict again")


def _row_numbers(shards: list[Path], expected: int | None) -> NDArray[np.int64]:
    """Return the row numbers in ascending order; raise if one is missing or occurs twice."""
    found: NDArray[np.int64] = np.concatenate(
        [pa.parquet.read_table(shard, columns=[_INDEX])[_INDEX].to_numpy() for shard in shards]
    )
    found.sort()  # in place, since a billion rows take 8 GB
    if twice := int((np.diff(found) == 0).sum()):
        raise BadValueError(f"the shards hold {count(twice, 'row')} twice", "Predict again into an empty folder")
    total = _facts(shards[0])["total"] if expected is None else expected
    if total is not None and len(found) != total:
        problem = f"the shards must hold {count(total, 'row')}, got {len(found):,}"
        remedy = "Predict again; or if unreadable images were left out, pass the number of rows: rows="
        raise BadValueError(problem, remedy)
    return found


@speaking("gather")
def gather(outputs: Sequence[Any] | None) -> dict[str, Tensor]:
    """Join the output of `trainer.predict` over batches and ranks, sorted by row number.

    Every rank gets all rows. With a strategy that spawns its processes, call it inside the run.

    Args:
        outputs: The list that `trainer.predict(...)` returned, for one loader.

    Shape:
        - predictions: (R, C) or (R, T) float32
        - index: (R,) int64, ascending
        - loss: (R,) float32, if the rows had a target
        - fold: (R,) int64, if the rows had folds

    Raises:
        BadTypeError: The outputs are not those of a tabvision module.
        BadValueError: A row occurs twice.

    Example:
        >>> batches = [{"predictions": torch.ones(1, 2), "index": torch.tensor([row])} for row in (1, 0)]
        >>> gather(batches)["index"].tolist()
        [0, 1]
    """
    batches = list(outputs or [])
    if not all(isinstance(batch, dict) and {"predictions", "index"} <= batch.keys() for batch in batches):
        kinds = sorted({type(batch).__name__ for batch in batches})
        remedy = "Pass what trainer.predict(module, datamodule) returned for one loader of a tabvision module"
        raise BadTypeError(f"each output must be a dict with predictions and index, got {kinds}", remedy)
    batches = [batch for batch in batches if len(batch["index"])]
    own: dict[str, Tensor] | None = None  # this rank's, joined; None if it has no rows, since the width is then unknown
    if batches:
        names = [name for name in ("predictions", "index", "loss", "fold") if name in batches[0]]
        own = {name: torch.cat([batch[name].cpu() for batch in batches]) for name in names}
    ranks = [rank for rank in of_all_ranks(own) if rank is not None]
    if not ranks:
        return {"predictions": torch.empty(0, 0), "index": torch.empty(0, dtype=torch.int64)}
    index, order = torch.cat([rank["index"] for rank in ranks]).sort()
    if repeated := int((index.diff() == 0).sum()):
        problem = f"each row must occur once, got {count(repeated, 'repeated row')}"
        raise BadValueError(problem, "Gather one call of trainer.predict at a time")
    others = [name for name in ("predictions", "loss", "fold") if name in ranks[0]]
    return {name: torch.cat([rank[name] for rank in ranks])[order] for name in others} | {"index": index}
