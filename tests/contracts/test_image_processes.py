"""Images, points and ratings on two gloo processes: equal to the bit, each row once, resumed as if never left."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from tabvision.errors import BadValueError
from tabvision.inference import Predictor, merge_predictions
from tabvision.modules import VisionModule
from tests.made.modules import different
from tests.made.points import COLUMNS
from tests.made.processes import Seen, both_ranks, on_two
from tests.made.processes_images import (
    EPOCHS,
    IMAGES,
    PER_EPOCH,
    RATINGS,
    RESUMED_STEPS,
    make_images,
    own_head,
    vary,
    write_images,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, and what two processes wrote down about them."""
    folder = tmp_path_factory.mktemp("images")
    write_images(folder)
    return on_two("images", folder)


@pytest.fixture(scope="module")
def seen(folder: Path) -> Seen:
    """What each of two processes saw."""
    return both_ranks(folder)


def test_replicas_are_equal_to_the_bit_after_every_epoch(seen: Seen) -> None:
    first, second = (process["whole"] for process in seen)

    assert first["steps"] == second["steps"] == EPOCHS * PER_EPOCH
    assert [different(*states) for states in zip(first["epochs"], second["epochs"], strict=True)] == [[]] * EPOCHS
    assert not different(first["state"], second["state"])


def test_the_body_rests_in_the_frozen_epoch_and_learns_after_it(seen: Seen) -> None:
    frozen, thawed, _ = seen[0]["whole"]["epochs"]

    convolutions = [name for name in thawed if name.startswith("weight body.") and thawed[name].ndim == 4]
    assert convolutions
    assert set(different({name: frozen[name] for name in convolutions}, {name: thawed[name] for name in convolutions}))


def test_each_row_is_trained_on_and_validated_once_an_epoch(seen: Seen, folder: Path) -> None:
    rows = make_images(folder)[1].parts["train"].rows.tolist()
    first, second = (process["whole"]["trained"] for process in seen)
    assert {epoch: sorted(first[epoch] + second[epoch]) for epoch in first} == dict.fromkeys(range(EPOCHS), rows)
    assert first[0] != first[1]

    rows = make_images(folder)[1].parts["val"].rows.tolist()
    first, second = (process["whole"]["validated"] for process in seen)
    assert {epoch: sorted(first[epoch] + second[epoch]) for epoch in first} == dict.fromkeys(range(EPOCHS), rows)


def test_a_fit_resumed_by_two_processes_ends_with_the_same_bits(seen: Seen) -> None:
    whole = seen[0]["whole"]["state"]

    for process in seen:
        assert {step: different(process["resumed"][step], whole) for step in RESUMED_STEPS} == {
            step: [] for step in RESUMED_STEPS
        }


def test_rows_of_columns_and_images_are_equal_to_the_bit_and_resume(seen: Seen) -> None:
    whole, resumed = seen[0]["fused"], {**seen[0]["fused resumed"], **seen[1]["fused resumed"]}

    assert not different(whole["state"], seen[1]["fused"]["state"])
    assert {step: different(state, whole["state"]) for step, state in resumed.items()} == {3: [], 6: []}


def test_shards_hold_each_row_once_and_merge_to_what_one_process_answers(
    seen: Seen, folder: Path, tmp_path: Path
) -> None:
    total = sum(IMAGES.values())

    assert merge_predictions(folder / "shards", tmp_path / "all.parquet") == total

    assert sorted(seen[0]["predicted"] + seen[1]["predicted"]) == list(range(total))
    merged = pd.read_parquet(tmp_path / "all.parquet")
    alone = Predictor(folder / f"step={EPOCHS * PER_EPOCH}.ckpt", device="cpu").predict(folder / "images")
    assert merged["row"].tolist() == list(range(total))
    shared = [name for name in merged.columns if name != "row"]
    pd.testing.assert_frame_equal(merged[shared], alone[shared], check_dtype=False, rtol=1e-4, atol=1e-5)


def test_an_own_augmentation_gives_two_processes_the_images_of_one(seen: Seen, folder: Path) -> None:
    first, second = (process["varied"] for process in seen)

    alone = vary(folder, devices=1)

    assert not first.keys() & second.keys()
    assert (first | second).keys() == alone.keys()
    assert all(torch.equal(image, alone[key]) for key, image in (first | second).items())


def test_a_net_for_points_is_equal_to_the_bit_after_every_epoch(seen: Seen) -> None:
    first, second = (process["points"] for process in seen)

    assert [different(*states) for states in zip(first, second, strict=True)] == [[], []]
    assert set(first[0]) < set(first[1])  # what was thawed has moments


def test_a_head_of_ones_own_learns_and_is_equal_to_the_bit_after_every_epoch(seen: Seen, folder: Path) -> None:
    first, second = (process["own head"] for process in seen)

    assert [different(*states) for states in zip(first, second, strict=True)] == [[], []]
    assert "weight head.3.weight" in different(first[0], {name: first[1][name] for name in first[0]})
    loaded = VisionModule.load_from_checkpoint(folder / "own_head.ckpt", weights_only=True, head=own_head)
    assert torch.equal(loaded.state_dict()["head.3.weight"], first[1]["weight head.3.weight"])


def test_merged_points_are_pixels_of_each_image_as_one_process_answers(
    seen: Seen, folder: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(folder / "spots.csv")

    assert merge_predictions(folder / "point_shards", tmp_path / "all.parquet", rows=len(frame)) == len(frame)

    assert len(seen) == 2
    merged = pd.read_parquet(tmp_path / "all.parquet")
    alone = Predictor(folder / "points.ckpt", device="cpu").predict(frame)
    shared = [name for name in merged.columns if name in alone.columns]
    assert len([name for name in shared if name.startswith("prediction")]) == len(COLUMNS)
    pd.testing.assert_frame_equal(merged[shared], alone[shared], check_dtype=False, rtol=1e-4, atol=1e-3)


def test_shards_that_lack_a_row_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="the shards must hold 38 rows, got 37"):
        merge_predictions(folder / "shards", tmp_path / "all.parquet", rows=38)
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "rank-00000.parquet").write_bytes((folder / "shards" / "rank-00000.parquet").read_bytes())
    with pytest.raises(BadValueError, match="holds 1 shard of a run on 2 ranks"):
        merge_predictions(tmp_path / "half", tmp_path / "all.parquet")


def test_each_process_blends_in_a_way_of_its_own(seen: Seen) -> None:
    first, second = (process["blended"] for process in seen)

    assert len(first) == len(second) == 3
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(first, second, strict=True))


@pytest.mark.parametrize("name", RATINGS)
def test_factors_are_equal_to_the_bit_after_every_epoch(seen: Seen, name: str) -> None:
    first, second = (process["ratings"][name] for process in seen)

    assert [different(*states) for states in zip(first, second, strict=True)] == [[], []]
    assert different(first[0], first[1])
