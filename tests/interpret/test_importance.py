"""Importance: how much worse the answers get when a column is shuffled, as scikit-learn computes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.inspection import permutation_importance
from torch import Tensor, nn
from typing_extensions import override

from tabvision.data import TabularDataModule
from tabvision.errors import BadTypeError, BadValueError, UnknownNameError
from tabvision.inference import Predictor
from tabvision.interpret import importance
from tabvision.modules import CollabModule, TabularModule, VisionModule
from tests.made.pairs import ONE, TARGETS, Pair, make_frame
from tests.made.ratings import made_ratings, ratings_data
from tests.made.tables import mixed_table
from tests.made.trained import trained

INPUTS = ["x", "z", "job", "size"]


class FirstNumber(nn.Module):
    """A network of a user's own whose answer is three times its first number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(3.0))

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        return self.weight * continuous[:, :1]


def by_hand(predictor: Predictor, frame: pd.DataFrame, metric: str, orders: np.ndarray) -> pd.DataFrame:
    """The same through raw frames, column by column: the mean and standard deviation of what a shuffle adds."""

    def value(rows: pd.DataFrame) -> float:
        results = predictor.losses(rows)
        if metric == "loss":
            return float(results.loss.mean())
        collection = predictor.module.task.metrics()
        collection.update(torch.from_numpy(results.predictions), torch.from_numpy(results.target))
        return float(collection.compute()[metric])

    found = {}
    for name in predictor.schema.inputs:
        shuffled = [frame.assign(**{name: frame[name].array[order]}) for order in orders]
        changes = np.array([value(rows) - value(frame) for rows in shuffled])
        found[name] = (abs(changes.mean()), changes.std())
    return pd.DataFrame.from_dict(found, "index", columns=["importance", "std"])


@pytest.mark.parametrize(
    ("target", "metric"),
    [("binary", "loss"), ("multiclass", "f1"), ("multilabel_text", "loss"), ("regression", "rmse")],
)
def test_it_is_what_shuffling_raw_columns_gives(target: str, metric: str) -> None:
    predictor, frame = Predictor(trained(target)[0], device="cpu"), make_frame(60, seed=3)
    orders = np.stack([np.random.default_rng(seed).permutation(60) for seed in range(3)])

    found = importance(predictor, frame, metric=metric, permutations=orders).set_index("column")

    expected = by_hand(predictor, frame, metric, orders)
    assert set(found.index) == set(INPUTS)
    for name in INPUTS:
        assert abs(found["importance"][name]) == pytest.approx(expected["importance"][name], abs=1e-6, rel=1e-5)
        assert found["std"][name] == pytest.approx(expected["std"][name], abs=1e-6, rel=1e-4)


def test_it_is_scikit_learns_for_the_same_shuffles() -> None:
    predictor, frame = Predictor(trained("binary")[0], device="cpu"), make_frame(60, seed=3)
    seed = np.random.RandomState(7).randint(np.iinfo(np.int32).max + 1)  # what scikit-learn does with random_state=7
    shuffles, order, orders = np.random.RandomState(seed), np.arange(60), [np.arange(60)]
    for _ in range(4):  # it shuffles the order again, and by it the column again
        shuffles.shuffle(order)
        orders.append(orders[-1][order])

    def accuracy(estimator: Predictor, rows: pd.DataFrame, truth: pd.Series) -> float:
        return float((estimator.predict(rows)["label"].to_numpy() == truth.to_numpy()).mean())

    class Estimator:  # scikit-learn looks for `fit`
        predict = predictor.predict

        def fit(self, *args: Any) -> None: ...

    found = importance(predictor, frame, metric="accuracy", permutations=orders[1:]).set_index("column")

    expected = permutation_importance(
        Estimator(), frame[INPUTS], frame["paid"], scoring=accuracy, n_repeats=4, random_state=7
    )
    np.testing.assert_allclose(found["importance"][INPUTS], expected.importances_mean, atol=1e-6)
    np.testing.assert_allclose(found["std"][INPUTS], expected.importances_std, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_every_kind_of_target_has_importances_by_loss_and_by_its_metrics(target: str) -> None:
    pair = Pair(TabularModule, target)
    module, frame = pair.module(pair.data(make_frame()).schema), make_frame(30, seed=2)

    for metric in ["loss", *module.task.metrics()]:
        found = importance(module, frame, metric=str(metric), repeats=2)

        assert found.columns.tolist() == ["column", "importance", "std"]
        assert found["importance"].is_monotonic_decreasing
        assert np.isfinite(found.attrs["baseline"])


def own(frame: pd.DataFrame, target: str = "y") -> TabularModule:
    return TabularModule(TabularDataModule(frame, target, verbose=False).schema, net=FirstNumber())


def test_columns_that_a_network_ignores_have_none_and_the_others_the_errors_of_a_formula() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"a": draw.normal(size=200), "b": draw.normal(size=200), "c": draw.choice(["u", "v"], 200)})
    frame["y"] = frame["a"] + draw.normal(size=200)
    module, order = own(frame), draw.permutation(200)

    found = importance(module, frame, metric="mae", permutations=[order])

    answers = Predictor(module).predict(frame)["prediction"].to_numpy()
    errors = [np.abs(rows - frame["y"].to_numpy()).mean() for rows in (answers, answers[order])]
    assert found["column"].tolist() == ["a", "b", "c"]
    assert found["importance"].tolist() == [pytest.approx(errors[1] - errors[0], abs=1e-6), 0, 0]
    assert found.attrs["baseline"] == pytest.approx(errors[0], abs=1e-6)


def test_all_parts_of_a_date_and_the_indicators_of_missing_values_move_with_their_column() -> None:
    frame = mixed_table()
    data = TabularDataModule(frame, "pay", verbose=False)
    predictor = Predictor(TabularModule(data.schema, members=2, member_widths=[8]), device="cpu")
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(200), (2, 1)), axis=1)

    found = importance(predictor, frame, permutations=orders).set_index("column")

    expected = by_hand(predictor, frame, "loss", orders)
    assert set(found.index) == {"size", "visits", "rooms", "color", "garden", "grade", "sold"}
    np.testing.assert_allclose(found["importance"].abs(), expected["importance"][found.index], atol=1e-6)


class Wrapped(nn.Module):
    """A network that is not known to add up its columns, so that whole rows are answered."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @override
    def forward(self, continuous: Tensor, categorical: Tensor) -> Tensor:
        logits: Tensor = self.net(continuous, categorical)
        return logits


@pytest.mark.parametrize("own_inputs", [False, True])
@pytest.mark.parametrize("target", ["pay", "color"])
def test_columns_exchanged_in_the_first_layer_have_the_importances_of_whole_rows(
    *, target: str, own_inputs: bool
) -> None:
    frame = mixed_table().dropna(subset=[target])
    schema = TabularDataModule(frame, target, verbose=False).schema
    module = TabularModule(schema, members=2, member_widths=[8, 4], own_inputs=own_inputs)
    for name, weights in module.named_parameters():
        if "table" in name:  # at zero before training
            torch.nn.init.normal_(weights)

    found = importance(module, frame, repeats=3)

    expected = importance(TabularModule(schema, net=Wrapped(module.net)), frame, repeats=3).set_index("column")
    for name in ("importance", "std"):
        np.testing.assert_allclose(found[name], expected[name][found["column"]], atol=1e-5)


def test_an_order_that_leaves_all_as_it_is_takes_exactly_nothing() -> None:
    found = importance(trained("binary")[2], make_frame(60), permutations=[range(60)])

    assert (found[["importance", "std"]] == 0).all(axis=None)


def test_a_bag_of_networks_has_the_importances_of_their_common_answer() -> None:
    frame = make_frame(60)
    module = TabularModule(Pair(TabularModule, "binary").data(make_frame()).schema, members=2, bag=3)
    orders = np.stack([np.random.default_rng(seed).permutation(60) for seed in range(2)])

    found = importance(module, frame, permutations=orders).set_index("column")

    expected = by_hand(Predictor(module, device="cpu"), frame, "loss", orders)
    np.testing.assert_allclose(found["importance"].abs(), expected["importance"][found.index], atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_row_with_a_fold_is_answered_by_the_member_that_left_it_out(*, wrapped: bool) -> None:
    frame, fold = make_frame(60, seed=3), np.arange(60) % 3
    schema = Pair(TabularModule, "regression").data(make_frame()).schema
    packed = TabularModule(schema, members=3, member_widths=[8], own_inputs=True).eval()
    module = TabularModule(schema, net=Wrapped(packed.net)) if wrapped else packed
    order = np.random.default_rng(0).permutation(60)

    found = importance(module, frame, permutations=[order], fold=fold, metric="mae").set_index("column")

    def error(rows: pd.DataFrame) -> float:
        (arrays,) = Predictor(packed, device="cpu").read(rows).batches()
        batch: Any = {name: torch.from_numpy(array) for name, array in arrays.items()}
        batch["categorical"] = batch["categorical"].long()
        logits = packed.member_logits(batch)[np.arange(60), fold]
        answers = packed.task.activate(logits).detach().numpy()[:, 0]
        return float(np.abs(answers - frame[schema.target.columns[0]].to_numpy()).mean())

    assert found.attrs["baseline"] == pytest.approx(error(frame), rel=1e-5)
    for name in INPUTS:
        shuffled = error(frame.assign(**{name: frame[name].array[order]}))
        assert found["importance"][name] == pytest.approx(shuffled - error(frame), rel=1e-3)


def test_users_and_items_have_importances() -> None:
    module = CollabModule(ratings_data().schema, factors=2)

    found = importance(module, made_ratings(), metric="rmse")

    assert set(found["column"]) == {"who", "film"}


def test_a_file_and_a_checkpoint_are_read(tmp_path: Path) -> None:
    path, _, module = trained("binary")
    make_frame(30).to_parquet(tmp_path / "rows.parquet")

    found = importance(path, tmp_path / "rows.parquet")

    pd.testing.assert_frame_equal(found, importance(module, make_frame(30)))


def test_more_rows_than_wanted_are_drawn_by_the_seed() -> None:
    _, _, module = trained("binary")
    frame = make_frame(80)

    few = [importance(module, frame, max_rows=20, seed=seed).attrs["baseline"] for seed in (1, 1, 2)]

    assert few[0] == few[1] != few[2]


def test_one_row_has_importances_of_zero() -> None:
    found = importance(trained("regression")[2], make_frame(1))

    assert (found[["importance", "std"]] == 0).all(axis=None)


def test_the_module_is_left_as_it_was() -> None:
    module = ONE.module(ONE.data().schema).train()

    importance(module, make_frame(10), repeats=1)

    assert module.training


def test_images_folds_and_metrics_that_do_not_fit_are_refused() -> None:
    pair = Pair(VisionModule, "binary")
    with pytest.raises(BadTypeError, match="importance: the model must read columns of a table"):
        importance(pair.module(pair.data().schema), make_frame())

    with pytest.raises(BadValueError, match="importance: fold must have a number for each of 30 rows, got 29"):
        importance(trained("binary")[2], make_frame(30), fold=np.zeros(29, np.int64))

    frame = make_frame(30).query("paid == 'yes'")
    with pytest.raises(BadValueError, match="importance: auroc is nan on these rows"):
        importance(trained("binary")[2], frame, metric="auroc")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "rmse"}, "no metric named 'rmse'"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"max_rows": 0}, "max_rows must be at least 1"),
        ({"permutations": [[0, 1]]}, r"orders of the 30 rows, got an array of shape \(1, 2\)"),
        ({"permutations": np.zeros((1, 30), int)}, "orders of the 30 rows"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=f"importance: .*{message}"):
        importance(trained("binary")[2], make_frame(30), **settings)
