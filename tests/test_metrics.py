"""Metrics: equal to scikit-learn's, quiet on one row or one class, the same in any number of steps and processes."""

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics import MetricCollection
from typing_extensions import override

from tabvision.metrics import _binary_auroc, binary_metrics, multiclass_metrics, multilabel_metrics, regression_metrics

Case = tuple[Callable[[], MetricCollection], Tensor, Tensor]


def cases(num_rows: int = 500) -> dict[str, Case]:
    generator = torch.Generator().manual_seed(0)
    yes = (torch.rand(num_rows, generator=generator) * 50).round() / 50  # many ties
    classes = torch.rand(num_rows, 5, generator=generator).softmax(dim=1)
    flags = torch.rand(num_rows, 3, generator=generator)
    numbers = torch.rand(num_rows, 2, generator=generator) * 10 + 1000
    noise = torch.rand(num_rows, 2, generator=generator)
    return {
        "binary": (
            lambda: binary_metrics(0.4),
            torch.stack([1 - yes, yes], dim=1),
            (torch.rand(num_rows, generator=generator) < yes).long(),
        ),
        "multiclass": (lambda: multiclass_metrics(6), classes, torch.randint(0, 5, (num_rows,), generator=generator)),
        "multilabel": (
            lambda: multilabel_metrics(3, 0.5),
            flags,
            (torch.rand(num_rows, 3, generator=generator) < flags).float(),
        ),
        "regression": (lambda: regression_metrics(2), numbers, numbers + noise),
    }


def values(metrics: MetricCollection) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.compute().items()}


def computed(case: Case, *, batch: int = 64) -> dict[str, float]:
    make, predictions, target = case
    metrics = make()
    for start in range(0, len(target), batch):
        metrics.update(predictions[start : start + batch], target[start : start + batch])
    return values(metrics)


def test_metrics_equal_those_of_scikit_learn() -> None:
    _, predictions, target = cases()["binary"]
    answered = predictions[:, 1] > 0.4
    assert computed(cases()["binary"]) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(target, answered),
            "auroc": sk.roc_auc_score(target, predictions[:, 1]),
            "f1": sk.f1_score(target, answered),
        },
        rel=1e-6,
    )

    _, predictions, target = cases()["multiclass"]
    answered = predictions.argmax(dim=1)
    expected = {"accuracy": sk.accuracy_score(target, answered), "f1": sk.f1_score(target, answered, average="macro")}
    assert computed(cases()["multiclass"]) == pytest.approx(expected, rel=1e-6)

    _, predictions, target = cases()["multilabel"]
    answered = predictions > 0.5
    expected = {
        "accuracy": float((answered == target).float().mean()),
        "f1": sk.f1_score(target, answered, average="macro"),
    }
    assert computed(cases()["multilabel"]) == pytest.approx(expected, rel=1e-6)

    _, predictions, target = cases()["regression"]
    wanted, given = target.double().numpy(), predictions.double().numpy()
    expected = {
        "mae": sk.mean_absolute_error(wanted, given),
        "r2": sk.r2_score(wanted, given),
        "rmse": sk.root_mean_squared_error(wanted, given),
    }
    assert computed(cases()["regression"]) == pytest.approx(expected, rel=1e-6)


def test_auroc_equals_that_of_scikit_learn_whatever_the_ties(subtests: pytest.Subtests) -> None:
    for seed in range(20):
        with subtests.test(seed=seed):
            generator = np.random.default_rng(seed)
            num_rows = int(generator.integers(2, 60))
            scores = generator.integers(0, generator.integers(1, 30), num_rows) / 7
            positive = generator.random(num_rows) < 0.4
            positive[:2] = [True, False]

            assert _binary_auroc(scores, positive) == pytest.approx(sk.roc_auc_score(positive, scores))


def test_auroc_of_scores_that_are_not_numbers_is_not_a_number() -> None:
    assert math.isnan(_binary_auroc(np.array([0.1, np.nan]), np.array([True, False])))


def test_r2_keeps_its_digits_far_from_zero() -> None:
    target = torch.arange(100.0).reshape(-1, 1) + 1e6
    metrics = regression_metrics(1)

    metrics.update(target + 1, target)

    assert values(metrics)["r2"] == pytest.approx(sk.r2_score(target.double(), target.double() + 1), rel=1e-6)


@pytest.mark.parametrize("name", cases())
def test_the_size_of_steps_does_not_matter(name: str, subtests: pytest.Subtests) -> None:
    for batch in [1, 7, 500]:
        with subtests.test(batch=batch):
            assert computed(cases()[name], batch=batch) == pytest.approx(computed(cases()[name], batch=100), rel=1e-6)


@pytest.mark.parametrize("name", ["binary", "multiclass", "multilabel"])
def test_softened_targets_count_as_what_they_lean_to(name: str) -> None:
    make, predictions, target = cases()[name]
    hard = target if target.ndim == 2 else torch.nn.functional.one_hot(target, predictions.shape[1]).float()

    softened = (
        make,
        predictions,
        hard * 0.8 + 0.1 if name == "multilabel" else hard * 0.8 + 0.2 / predictions.shape[1],
    )

    assert computed(softened) == computed(cases()[name])


@pytest.mark.parametrize("name", cases())
def test_predictions_in_bfloat16_or_with_gradients_are_taken_and_not_kept(name: str) -> None:
    make, predictions, target = cases()[name]
    rounded = computed((make, predictions.bfloat16(), target))
    assert rounded == pytest.approx(computed((make, predictions.bfloat16().float(), target)), rel=1e-6)

    given = predictions.clone().requires_grad_()
    metrics = make()
    metrics.update(given, target)
    given.detach().zero_()
    assert values(metrics) == computed(cases()[name], batch=500)

    metrics = make()
    copy = metrics.clone(prefix="val/")
    copy.update(predictions, target)
    assert not metrics.state_dict()
    assert set(values(copy)) == {f"val/{metric}" for metric in metrics}


@pytest.mark.parametrize("name", cases())
def test_one_row_is_quiet_and_no_rows_or_a_reset_leave_nothing(name: str) -> None:
    make, predictions, target = cases()[name]
    metrics = make()
    metrics.update(predictions[:1], target[:1])
    found = values(metrics)
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"binary": {"auroc"}, "regression": {"r2"}}.get(name, set())

    metrics = make()
    metrics.update(predictions[:0], target[:0])
    assert all(math.isnan(value) for value in values(metrics).values())

    metrics.update(predictions, target)
    assert values(metrics) == computed(cases()[name], batch=500)

    metrics = make()
    with torch.inference_mode():
        metrics.update(predictions[:9], target[:9])
        metrics.compute()
        metrics.reset()
    metrics.update(predictions, target)
    assert values(metrics) == computed(cases()[name], batch=500)


def test_what_is_not_defined_is_not_a_number_and_r2_of_the_mean_is_zero() -> None:
    metrics = binary_metrics(0.5)
    metrics.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 0]))
    assert values(metrics) == pytest.approx({"accuracy": 0.5, "auroc": math.nan, "f1": 0.0}, nan_ok=True)

    metrics = regression_metrics(1)
    metrics.update(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [1.0]]))
    assert values(metrics) == pytest.approx({"mae": 0.5, "r2": math.nan, "rmse": 0.5**0.5}, nan_ok=True)

    wanted = torch.tensor([0.1, 0.2, 0.7, 3.3, 4.9])
    metrics = regression_metrics(1)
    metrics.update(wanted.mean().expand(5, 1), wanted[:, None])
    assert f"{metrics.compute()['r2'].item():g}" == "0"


def test_what_is_better_is_said() -> None:
    better = {name: metric.higher_is_better for name, metric in regression_metrics(1).items()}

    assert better == {"mae": False, "r2": True, "rmse": False}


SIZES = [(250, 250), (499, 1), (500, 0)]  # rows of each of two processes


def run_rank(rank: int, folder: Path) -> None:
    """What one of two processes computes, written down."""
    warnings.simplefilter("ignore")  # a process without rows
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found: dict[str, dict[str, float]] = {}
    for sizes in SIZES:
        start = rank * sizes[0]
        for name, (make, predictions, target) in cases().items():
            metrics = make()
            for at in range(start, start + sizes[rank], 50):
                stop = min(at + 50, start + sizes[rank])
                metrics.update(predictions[at:stop], target[at:stop])
            found[f"{name} {sizes}"] = values(metrics)
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    start_processes(run_rank, (tmp_path,), nprocs=2, start_method="fork")  # type: ignore[no-untyped-call]

    alone = {name: computed(case) for name, case in cases().items()}
    for rank in range(2):
        for name, found in json.loads((tmp_path / f"{rank}.json").read_text()).items():
            assert found == pytest.approx(alone[name.split()[0]], rel=1e-6), name


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    """Counts what torch is told to do."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.number = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def test_a_step_takes_a_dozen_operations_whatever_is_measured(subtests: pytest.Subtests) -> None:
    for name, (make, predictions, target) in cases(4096).items():
        with subtests.test(name):
            metrics = make()
            metrics.update(predictions, target)  # the first one finds out which metrics share their counts

            with Operations() as operations:
                metrics.update(predictions, target)

            assert 0 < operations.number <= 12
