"""Shards of each rank and their merge: every row once, in order, or a sentence."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import pytorch_lightning as pl
import torch
from pandas.testing import assert_frame_equal
from torch import Tensor

from tabvision.data.loaders import TensorLoader
from tabvision.errors import BadTypeError, BadValueError, MissingFileError
from tabvision.inference import PredictionWriter, gather, merge_predictions
from tabvision.inference import writer as under_test
from tabvision.inference.answers import answer_frame
from tests.made.pairs import make_frame, tabular_data
from tests.made.trained import trained
from tests.made.trainers import MakeTrainer


def shard(
    folder: Path,
    rank: int,
    ranks: int,
    rows: list[int],
    *,
    told: int | None = None,
    total: int | None = None,
    run: str = "a",
) -> None:
    """A shard as a rank of that run writes it."""
    table = pa.table({"row": pa.array(rows, pa.int64()), "prediction": pa.array([float(row) for row in rows])})
    metadata = json.dumps(
        {"run": run, "rank": rank, "ranks": ranks, "rows": len(rows) if told is None else told, "total": total}
    ).encode()
    folder.mkdir(exist_ok=True)
    pa.parquet.write_table(table.replace_schema_metadata({b"tabvision": metadata}), folder / f"rank-{rank:05}.parquet")


@pytest.mark.parametrize("target", ["binary", "regression_several"])
def test_what_is_written_and_merged_is_what_gather_gives(target: str, tmp_path: Path, quick_trainer: Any) -> None:
    _, data, module = trained(target)
    trainer = quick_trainer(callbacks=[PredictionWriter(tmp_path / "shards")])

    outputs = trainer.predict(module, data)

    rows = merge_predictions(tmp_path / "shards", tmp_path / "all.parquet")
    found = pd.read_parquet(tmp_path / "all.parquet")
    gathered = gather(outputs)
    held = gathered["index"].numpy()
    expected = answer_frame(module.schema, gathered["predictions"].numpy())
    expected.insert(0, "row", held)
    assert rows == len(held)
    assert_frame_equal(found.reset_index(drop=True), expected, check_dtype=False)


def test_probabilities_can_be_left_out_and_small_batches_are_one_row_group(tmp_path: Path, quick_trainer: Any) -> None:
    _, data, module = trained("binary")

    loader = TensorLoader(data.parts["val"].tensors, batch_size=8)
    quick_trainer(callbacks=[PredictionWriter(tmp_path, proba=False)]).predict(module, loader, return_predictions=False)

    assert len(loader) > 1 == pa.parquet.read_metadata(tmp_path / "rank-00000.parquet").num_row_groups
    assert pa.parquet.read_schema(tmp_path / "rank-00000.parquet").names == ["row", "label"]


def test_shards_of_several_ranks_are_merged_in_the_order_of_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "_MERGE_ROWS", 7)  # so that many blocks are merged
    order = np.random.default_rng(0).permutation(50).tolist()
    for rank in range(3):
        shard(tmp_path / "s", rank, 3, order[rank::3])

    assert merge_predictions(tmp_path / "s", tmp_path / "all.parquet", rows=50) == 50

    found = pd.read_parquet(tmp_path / "all.parquet")
    assert found["row"].tolist() == list(range(50))
    assert found["prediction"].tolist() == list(range(50))


def test_a_rank_without_rows_is_no_loss(tmp_path: Path) -> None:
    shard(tmp_path / "s", 0, 2, [1, 0])
    shard(tmp_path / "s", 1, 2, [])

    assert merge_predictions(tmp_path / "s", tmp_path / "all.parquet") == 2


@pytest.mark.parametrize(
    ("ranks", "rows", "message"),
    [
        ([[0, 1], [2, 2]], None, "the shards hold 1 row twice"),
        ([[0, 1], [3]], 4, "the shards must hold 4 rows, got 3. Predict again"),
        ([[0, 1], [2]], 2, "the shards must hold 2 rows, got 3"),
    ],
)
def test_rows_that_are_missing_or_come_twice_are_told(
    ranks: list[list[int]], rows: int | None, message: str, tmp_path: Path
) -> None:
    for rank, own in enumerate(ranks):
        shard(tmp_path / "s", rank, len(ranks), own)

    with pytest.raises(BadValueError, match=f"merge_predictions: {message}"):
        merge_predictions(tmp_path / "s", tmp_path / "all.parquet", rows=rows)

    assert not (tmp_path / "all.parquet").exists()


def test_the_shards_say_how_many_rows_there_should_be(tmp_path: Path) -> None:
    shard(tmp_path / "s", 0, 1, [4, 9], total=3)

    with pytest.raises(BadValueError, match="the shards must hold 3 rows, got 2"):
        merge_predictions(tmp_path / "s", tmp_path / "all.parquet")

    assert merge_predictions(tmp_path / "s", tmp_path / "all.parquet", rows=2) == 2


def test_shards_of_two_runs_are_not_merged(tmp_path: Path, quick_trainer: MakeTrainer) -> None:
    for rank in range(2):
        shard(tmp_path / "s", rank, 2, [rank], run="ab"[rank])

    with pytest.raises(
        BadValueError, match=r"holds shards of 2 runs\. Copy the shards of all ranks of one run into one"
    ):
        merge_predictions(tmp_path / "s", tmp_path / "all.parquet")

    _, data, module = trained("binary")
    for name in ("one", "two"):
        quick_trainer(callbacks=[PredictionWriter(tmp_path / name)]).predict(module, data, return_predictions=False)
    ids = [under_test._facts(tmp_path / name / "rank-00000.parquet")["run"] for name in ("one", "two")]
    assert ids[0] != ids[1]


def test_shards_without_a_run_are_of_an_older_tabvision_and_merge(tmp_path: Path) -> None:
    for rank in range(2):
        table = pa.table({"row": pa.array([rank], pa.int64())})
        facts = json.dumps({"rank": rank, "ranks": 2, "rows": 1, "total": 2}).encode()
        pa.parquet.write_table(
            table.replace_schema_metadata({b"tabvision": facts}), tmp_path / f"rank-{rank:05}.parquet"
        )

    assert merge_predictions(tmp_path, tmp_path / "all.parquet") == 2


def test_a_missing_rank_is_told(tmp_path: Path) -> None:
    shard(tmp_path / "s", 0, 3, [0])
    shard(tmp_path / "s", 2, 3, [1])

    with pytest.raises(BadValueError, match="holds 2 shards of a run on 3 ranks"):
        merge_predictions(tmp_path / "s", tmp_path / "all.parquet")


def test_a_rank_that_is_not_through_is_told(tmp_path: Path) -> None:
    shard(tmp_path / "s", 0, 2, [0])
    (tmp_path / "s" / "rank-00001.parquet.partial").write_bytes(b"")

    with pytest.raises(BadValueError, match=r"'?rank-00001.parquet.partial'? in .* is not finished"):
        merge_predictions(tmp_path / "s", tmp_path / "all.parquet")


def test_a_shard_that_lacks_rows_or_is_damaged_is_told(tmp_path: Path) -> None:
    shard(tmp_path / "a", 0, 1, [0], told=2)
    with pytest.raises(BadValueError, match="lacks rows that its rank wrote"):
        merge_predictions(tmp_path / "a", tmp_path / "all.parquet")

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "rank-00000.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(BadValueError, match="is damaged or not a shard"):
        merge_predictions(tmp_path / "b", tmp_path / "all.parquet")


def test_an_empty_folder_and_another_suffix_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="merge_predictions: no shards in"):
        merge_predictions(tmp_path, tmp_path / "all.parquet")
    with pytest.raises(BadValueError, match=r"the name must end in .parquet or .pq, got 'all.csv'"):
        merge_predictions(tmp_path, tmp_path / "all.csv")


def test_a_folder_with_shards_is_not_written_to_again(tmp_path: Path, quick_trainer: Any) -> None:
    _, data, module = trained("binary")
    shard(tmp_path, 0, 1, [0])

    with pytest.raises(BadValueError, match=r"PredictionWriter: .* already holds rank-00000.parquet"):
        quick_trainer(callbacks=[PredictionWriter(tmp_path)]).predict(module, data)


def test_a_module_of_another_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTypeError, match="the module must be a tabvision module, got LightningModule"):
        PredictionWriter(tmp_path).on_predict_start(
            pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False), pl.LightningModule()
        )


# gather: every row once, in the order of the source, or a sentence.


def output(*rows: int) -> dict[str, Tensor]:
    index = torch.tensor(rows, dtype=torch.int64)
    return {"predictions": index[:, None].float() * 10, "index": index}


def test_rows_are_gathered_by_their_number_each_once() -> None:
    gathered = gather([output(5, 2), output(9), output(0, 7)])
    assert gathered["index"].tolist() == [0, 2, 5, 7, 9]
    assert gathered["predictions"].flatten().tolist() == [0.0, 20.0, 50.0, 70.0, 90.0]

    empty = {"predictions": torch.empty(0, 1), "index": torch.empty(0, dtype=torch.int64)}
    assert gather([empty, output(1), empty])["index"].tolist() == [1]

    with pytest.raises(BadValueError, match="gather: each row must occur once, got 2 repeated rows"):
        gather([output(1, 2, 3), output(3, 1)])


@pytest.mark.parametrize("outputs", [None, []])
def test_nothing_gives_nothing(outputs: Any) -> None:
    gathered = gather(outputs)

    assert gathered["index"].shape == (0,)
    assert gathered["index"].dtype == torch.int64
    assert gathered["predictions"].shape == (0, 0)


@pytest.mark.parametrize(
    "outputs", [[torch.zeros(3)], [[output(1)], [output(2)]], [{"predictions": torch.zeros(1)}], [3]]
)
def test_outputs_of_something_else_are_refused(outputs: Any) -> None:
    with pytest.raises(BadTypeError, match="gather: each output must be a dict with predictions and index, got "):
        gather(outputs)


@pytest.mark.parametrize("part", ["train", "val"])
def test_every_row_of_a_part_comes_once_in_the_order_of_the_source(part: Any, quick_trainer: MakeTrainer) -> None:
    _, data, module = trained("multiclass")

    gathered = gather(quick_trainer().predict(module, data.loader(part)))

    assert torch.equal(gathered["index"], data.parts[part].rows.sort().values)


def test_rows_to_predict_are_numbered_as_in_their_own_source(quick_trainer: MakeTrainer) -> None:
    _, data, module = trained("binary")
    other = tabular_data("binary", data.frame, schema=data.schema, ignore=None, predict=make_frame(33, seed=4))

    gathered = gather(quick_trainer().predict(module, other))

    assert gathered["index"].tolist() == list(range(33))


def test_several_loaders_are_refused_since_their_rows_would_be_mixed(tmp_path: Path, quick_trainer: Any) -> None:
    _, data, module = trained("binary")
    data.setup("predict")

    with pytest.raises(BadValueError, match="there must be one loader of rows to predict, got 2"):
        quick_trainer(callbacks=[PredictionWriter(tmp_path)]).predict(module, [data.predict_dataloader()] * 2)
