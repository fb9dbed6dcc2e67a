"""The loader: every row once, on every number of ranks, in an order that seed and epoch decide."""

import itertools
from typing import Any

import pytest
import torch
from torch import distributed

from tabvision.data.loaders import TensorLoader, _plan_steps
from tabvision.data.row_order import BlockOrder
from tabvision.errors import BadValueError


def loaders(num_rows: int, batch_size: int, world_size: int, *, shuffle: bool, seed: int = 0) -> list[TensorLoader]:
    tensors = {"target": torch.arange(num_rows)}
    return [
        TensorLoader(tensors, batch_size=batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]


def rows_of(loader: TensorLoader) -> list[list[int]]:
    return [batch["index"].tolist() for batch in loader]


def test_every_row_comes_once_and_ranks_take_as_many_steps(subtests: pytest.Subtests) -> None:
    cases = itertools.product([5, 7, 16, 33, 100], [1, 2, 4, 64], [1, 2, 3], [True, False])
    for num_rows, batch_size, world_size, shuffle in cases:
        with subtests.test(num_rows=num_rows, batch_size=batch_size, world_size=world_size, shuffle=shuffle):
            ranks = [rows_of(loader) for loader in loaders(num_rows, batch_size, world_size, shuffle=shuffle)]

            assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(num_rows))
            assert len({len(batches) for batches in ranks}) == 1


def test_no_training_batch_has_one_row(subtests: pytest.Subtests) -> None:
    for world_size, num_rows in itertools.product([1, 2, 3], range(6, 40)):
        with subtests.test(world_size=world_size, num_rows=num_rows):
            for loader in loaders(num_rows, 4, world_size, shuffle=True):
                assert min(len(batch) for batch in rows_of(loader)) >= 2
                assert len(rows_of(loader)) == len(loader)


def test_ranks_together_take_the_rows_of_one_process_with_the_joined_batch() -> None:
    alone = rows_of(loaders(40, 8, 1, shuffle=True)[0])
    ranks = [rows_of(loader) for loader in loaders(40, 4, 2, shuffle=True)]

    assert [first + second for first, second in zip(*ranks, strict=True)] == alone


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    loader, twin = (loaders(50, 8, 1, shuffle=True, seed=3)[0] for _ in range(2))
    other = loaders(50, 8, 1, shuffle=True, seed=4)[0]
    first, second = rows_of(loader), rows_of(loader)  # without a Trainer each pass is the next epoch

    twin.batch_sampler.sampler.set_epoch(1)

    assert first != second == rows_of(twin)
    assert rows_of(other) != first


def test_the_order_does_not_touch_the_global_generator() -> None:
    before = torch.get_rng_state()
    rows_of(loaders(50, 8, 1, shuffle=True)[0])

    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_holds_the_rows_that_its_index_names() -> None:
    tensors = {"continuous": torch.randn(9, 2), "categorical": torch.arange(9, dtype=torch.int32)[:, None]}
    loader = TensorLoader(tensors, torch.tensor([8, 1, 5, 2]), batch_size=3, shuffle=True, seed=1)

    for batch in loader:
        assert torch.equal(batch["continuous"], tensors["continuous"][batch["index"]])
        assert torch.equal(batch["categorical"][:, 0], batch["index"])
        assert batch["categorical"].dtype == torch.int64


def test_rows_in_order_are_not_copied() -> None:
    tensors = {"target": torch.arange(10.0)}

    batch = next(iter(TensorLoader(tensors, batch_size=4)))

    assert batch["target"].data_ptr() == tensors["target"].data_ptr()


def test_fewer_rows_than_a_batch_make_one_batch() -> None:
    assert rows_of(loaders(3, 64, 1, shuffle=False)[0]) == [[0, 1, 2]]


def test_a_rank_without_rows_still_takes_its_step() -> None:
    ranks = [rows_of(loader) for loader in loaders(1, 4, 2, shuffle=False)]

    assert sorted(ranks) == [[[]], [[0]]]


def test_no_rows_make_no_steps() -> None:
    assert _plan_steps(0, 4) == []


def test_fewer_training_rows_than_ranks_are_refused() -> None:
    with pytest.raises(BadValueError, match="3 ranks cannot share 2 training rows"):
        TensorLoader({"target": torch.arange(2)}, batch_size=4, shuffle=True, world_size=3)


def test_a_loader_that_was_made_for_one_rank_does_not_give_all_rows_to_each(monkeypatch: pytest.MonkeyPatch) -> None:
    (alone,) = loaders(10, 4, 1, shuffle=True)
    (in_order,) = loaders(10, 4, 1, shuffle=False)
    shared = loaders(10, 4, 2, shuffle=True)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "get_world_size", lambda: 2)

    with pytest.raises(
        BadValueError,
        match=r"^train_dataloader: each of 2 ranks would train on all rows.* trainer\.fit\(model, datamodule=",
    ):
        next(iter(alone))
    assert len(rows_of(in_order)) == 3  # such as rows that rank 0 alone evaluates
    assert sorted(row for loader in shared for rows in rows_of(loader) for row in rows) == [*range(10)]


CHANCES = torch.tensor([0.5, 2.0, 0.0, 1.0, 1.25, 3.25, 0.5, 1.5, 0.0, 0.0])  # of ten rows, their sum is ten


def drawing(batch_size: int, world_size: int = 1, rank: int = 0, seed: int = 0, times: int = 4) -> TensorLoader:
    settings: dict[str, Any] = {"batch_size": batch_size, "rank": rank, "world_size": world_size, "seed": seed}
    rows = torch.arange(10 * times)
    return TensorLoader({"target": rows}, rows, shuffle=True, chances=CHANCES.repeat(times), **settings)


def test_rows_are_drawn_as_often_as_their_chances_say_rounded_up_or_down() -> None:
    loader = drawing(8)
    epochs = torch.stack([torch.cat([batch["index"] for batch in loader]) for _ in range(200)])
    counts = torch.stack([epoch.bincount(minlength=40) for epoch in epochs]).double()
    chances = CHANCES.repeat(4).double()

    assert ((counts >= chances.floor()) & (counts <= chances.ceil())).all()
    assert (counts.mean(0) - chances).abs().max() < 0.15
    assert (epochs[:, :20].float().mean() - epochs[:, 20:].float().mean()).abs() < 1, "the draws are not shuffled"


def test_equal_chances_draw_each_row_once() -> None:
    loader = TensorLoader({"target": torch.arange(50)}, batch_size=8, shuffle=True, chances=torch.full((50,), 0.3))

    assert sorted(itertools.chain(*rows_of(loader))) == list(range(50))


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_draws_of_one_process(world_size: int) -> None:
    alone = rows_of(drawing(4 * world_size))
    ranks = [rows_of(drawing(4, world_size, rank)) for rank in range(world_size)]

    together = [row for step in zip(*ranks, strict=True) for rows in step for row in rows]
    assert together == [*itertools.chain(*alone)]


def test_draws_are_a_function_of_seed_and_epoch_and_resume_where_they_were_left() -> None:
    loader, resumed = drawing(8), drawing(8)
    first, second = rows_of(loader), rows_of(loader)
    batches = iter(resumed)
    [next(batches) for _ in range(2)]
    state = resumed.state_dict()
    again = drawing(8)
    again.load_state_dict(state)

    assert rows_of(again) == first[2:]
    assert rows_of(again) == second
    assert first != second
    assert rows_of(drawing(8, seed=1)) != first


def block_orders(num_rows: int, epoch: int, **settings: Any) -> torch.Tensor:
    order = BlockOrder(torch.arange(num_rows), **({"seed": 0, "block": 16, "window": 32} | settings)).of_epoch(epoch)
    return torch.cat([order[start : min(start + 100, num_rows)] for start in range(0, num_rows, 100)])


def test_an_order_by_blocks_has_each_row_once_and_is_a_function_of_seed_and_epoch() -> None:
    first, other = block_orders(5_003, 0), block_orders(5_003, 1)

    assert sorted(first.tolist()) == list(range(5_003))
    assert torch.equal(first, block_orders(5_003, 0))
    assert not torch.equal(first, other)
    assert not torch.equal(first, block_orders(5_003, 0, seed=1))


def test_an_order_by_blocks_mixes_sorted_rows_as_well_as_a_full_shuffle_does() -> None:
    rows = 100_000
    order = block_orders(rows, 0, block=64, window=256).double()

    lagged = [float(torch.corrcoef(torch.stack([order[:-lag], order[lag:]]))[0, 1]) for lag in (1, 10, 1_000)]
    means = order[: rows // 1_000 * 1_000].reshape(-1, 1_000).mean(dim=1)

    assert max(map(abs, lagged)) < 0.02
    # blocks drawn at random would differ by 1 / sqrt(256), twice as much
    assert float(means.std()) < 1.2 * float(order.std()) / 1_000**0.5


def test_the_last_rows_of_an_order_by_blocks_are_of_many_blocks() -> None:
    last = block_orders(33 * 16, 0)[-16:]  # one block more than a window has

    assert len(torch.unique(last // 16)) > 8


def test_ranks_and_a_resumed_epoch_take_the_order_by_blocks_as_one_process_does() -> None:
    def loaders_of(batch_size: int, world_size: int) -> list[TensorLoader]:
        rows = torch.arange(0, 2_000, 2)
        order: dict[str, Any] = {"shuffle": True, "seed": 3, "world_size": world_size, "batch_size": batch_size}
        return [
            TensorLoader({"x": torch.arange(2_000)}, rows, rank=rank, order=BlockOrder(rows, seed=3, block=8), **order)
            for rank in range(world_size)
        ]

    alone = rows_of(loaders_of(64, 1)[0])
    ranks = [rows_of(loader) for loader in loaders_of(32, 2)]
    stopped, resumed = loaders_of(64, 1)[0], loaders_of(64, 1)[0]
    first = [batch["index"].tolist() for batch, _ in zip(stopped, range(4), strict=False)]
    state = {**stopped.state_dict(), "done": 4}
    resumed.load_state_dict(state)

    assert [one + other for one, other in zip(*ranks, strict=True)] == alone
    assert first + rows_of(resumed) == alone


def test_draws_by_blocks_are_in_proportion_and_as_many_as_rows() -> None:
    drawn = block_orders(10_000, 0, chances=lambda rows: (rows >= 9_000).float() * 8 + 1)

    assert len(drawn) == 10_000
    assert float((drawn >= 9_000).double().mean()) == pytest.approx(0.5, abs=1e-3)
