"""The mean over an epoch, exact over many steps and fresh after a reset."""

import torch

from tabvision.metrics import RunningMean


def mean_of(running: RunningMean) -> float:
    total, weight = running.totals()
    return float(total / weight)


def test_rows_weigh_alike_whatever_the_size_of_their_batch() -> None:
    values = torch.rand(100)
    running = RunningMean()

    for batch in torch.split(values, 32):
        running.update(batch.mean(), len(batch))

    torch.testing.assert_close(mean_of(running), float(values.mean()))


def test_weights_may_be_tensors_and_are_left_as_they_were() -> None:
    running = RunningMean()
    weight = torch.tensor(3.0)

    running.update(torch.tensor(1.0), weight)
    running.update(torch.tensor(5.0), weight)

    assert mean_of(running) == 3.0
    assert weight.item() == 3.0


def test_many_small_steps_lose_no_digits() -> None:
    running = RunningMean()

    for _ in range(20_000):
        running.update(torch.tensor(0.1, dtype=torch.bfloat16), torch.tensor(1.0, dtype=torch.bfloat16))

    assert running.totals().tolist() == [20_000 * float(torch.tensor(0.1, dtype=torch.bfloat16)), 20_000.0]


def test_a_reset_forgets_everything() -> None:
    running = RunningMean()
    running.update(torch.tensor(7.0), 2)

    running.reset()

    assert running.totals().tolist() == [0.0, 0.0]


def test_no_gradient_is_kept() -> None:
    running = RunningMean()

    running.update(torch.tensor(1.0, requires_grad=True) * 2, 1)

    assert not running.totals().requires_grad
