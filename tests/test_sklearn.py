from __future__ import annotations

import os
import pickle
import pickletools
import runpy
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import tabvision
from tabvision.callbacks import FitTable
from tabvision.data import TabularDataModule
from tabvision.data.tables.sizes import most_epochs, table_batch_size
from tabvision.errors import BadTypeError, BadValueError, TabvisionError
from tabvision.inference import Predictor
from tabvision.lightning import Trainer
from tabvision.modules import TabularModule
from tabvision.sklearn import TabularClassifier, TabularRegressor
from tabvision.tasks import Multiclass
from tests.made.processes import on_two
from tests.made.tables import mixed_table, people

CPU = {"accelerator": "cpu"}
ESTIMATORS = [TabularClassifier, TabularRegressor]
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": "the number of rows decides their order and their batches: a "
    "row of weight 2 teaches what two rows do, but not to the bit",
    "check_methods_subset_invariance": "on some processors, a float32 sum depends on the rows beside it, by rounding",
}


def tiny(kind: Any, **settings: Any) -> Any:
    """An estimator that fits in a moment."""
    fixed = {"epochs": 6, "members": 2, "member_widths": (16,), "batch_size": 32, "trainer": CPU, "random_state": 0}
    return kind(**{**fixed, **settings})


@pytest.fixture(scope="module")
def homes() -> tuple[pd.DataFrame, pd.Series[str]]:
    """Columns of every kind with missing values, and two classes that can be told from them."""
    frame = mixed_table(240).drop(columns="pay")
    return frame, pd.Series(np.where(frame["visits"] > 500, "often", "seldom"), name="visited")


@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.parametrize("legacy", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_scikit_learns_checks_pass(kind: Any, legacy: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those that the checks provoke
        found = check_estimator(
            tiny(kind), legacy=legacy, expected_failed_checks=EXPECTED_FAILURES, on_fail=None, on_skip=None
        )

    assert [each for each in found if each["status"] == "failed"] == []
    assert len(found) > (50 if legacy else 10)


@pytest.mark.slow
def test_the_default_fit_is_that_of_the_command(homes: Any) -> None:
    X, y = homes
    model = TabularClassifier(trainer=CPU | {"max_epochs": 12}, random_state=3).fit(X, y)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    data = TabularDataModule(X.assign(visited=y), "visited", split="auto", seed=seed, verbose=False)
    data.batch_size = table_batch_size(len(X))
    torch.manual_seed(seed)
    module = TabularModule(data.schema)
    silent: Any = {**CPU, "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(max_epochs=12, **silent, enable_model_summary=False, callbacks=[FitTable()]).fit(module, data)

    answers = Predictor(module).predict(X)

    assert most_epochs(len(X)) > 12
    assert np.array_equal(model.predict_proba(X), answers.iloc[:, 1:].to_numpy(np.float64))
    assert model.n_iter_ <= 12


def test_frames_with_categories_dates_and_missing_values_are_learned_from(homes: Any) -> None:
    X, y = homes

    model = tiny(TabularClassifier, epochs=15).fit(X, y)

    assert model.score(X, y) > 0.9
    assert [*model.classes_] == ["often", "seldom"]
    assert [*model.feature_names_in_] == [*X]
    assert model.n_features_in_ == X.shape[1]
    assert model.predict(X.iloc[:1]).shape == (1,)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"size": "length"}))


def test_an_array_and_a_frame_of_its_columns_give_the_same(homes: Any) -> None:
    X, y = homes
    columns = X[["size", "color", "rooms"]]
    frame = columns.rename(columns={"size": "x0", "color": "x1", "rooms": "x2"})

    of_frame = tiny(TabularClassifier, categorical=["x2"]).fit(frame, y)
    of_array = tiny(TabularClassifier, categorical=["x2"]).fit(columns.to_numpy(), y.to_numpy())

    assert np.array_equal(of_frame.predict_proba(frame), of_array.predict_proba(columns.to_numpy()))
    assert not hasattr(of_array, "feature_names_in_")


def test_a_frame_of_another_library_is_read_with_its_names_and_types(homes: Any) -> None:
    X, y = homes
    ids = pd.Series(2**53 + (y == "often").to_numpy(np.int64), dtype="Int64")

    other, pandas = (tiny(TabularClassifier, epochs=1).fit(each, ids) for each in (pa.table(X), X))

    assert np.array_equal(other.predict(pa.table(X)), pandas.predict(X))
    assert [*other.feature_names_in_] == [*X]
    assert other.classes_.tolist() == [2**53, 2**53 + 1]
    with pytest.raises(BadValueError, match=r"column names must be unique, got 'a' \(2 times\)"):
        tiny(TabularClassifier).fit(pd.DataFrame([[1, 2]] * 240, columns=["a", "a"]), y)


def test_the_checkpoint_answers_in_the_users_labels_by_the_name_of_y(homes: Any, tmp_path: Path) -> None:
    X, y = homes
    model = tiny(TabularClassifier).fit(X, y)
    (tmp_path / "best.ckpt").write_bytes(model.checkpoint_)

    predictor = Predictor(tmp_path / "best.ckpt", device="cpu")

    assert predictor.schema.target.columns == ("visited",)
    assert predictor.predict(X)["label"].tolist() == model.predict(X).tolist()


@pytest.mark.parametrize("labels", [["b", "a"], [2.0, 1.0], [True, False], [3, 7], [-1, 10, 5]])
def test_probabilities_are_in_the_order_of_the_classes(labels: list[Any]) -> None:
    x = np.arange(120) % len(labels)
    y = np.array(labels)[x]

    model = tiny(TabularClassifier, epochs=20, continuous=["x0"]).fit(x[:, None].astype(float), y)

    assert [*model.classes_] == sorted(labels)
    assert (model.classes_[model.predict_proba(x[:, None].astype(float)).argmax(1)] == y).mean() > 0.9
    assert model.predict(x[:, None]).dtype == y.dtype


def test_several_numbers_are_predicted_together() -> None:
    X = np.linspace(-1, 1, 200)[:, None]
    y = np.hstack([X, 5 - X])

    model = tiny(TabularRegressor, epochs=30).fit(X, y)

    assert model.predict(X).shape == (200, 2)
    assert model.score(X, y) > 0.8


@pytest.mark.parametrize("kind", ["Int64", "boolean", "int64[pyarrow]", "string"])
@pytest.mark.parametrize("hold", [pd.array, pd.Series, pd.Index, pd.DataFrame])
@pytest.mark.filterwarnings("ignore:A column-vector y was passed")
def test_classes_stay_what_they_are_in_every_array_of_pandas(kind: str, hold: Any) -> None:
    y = pd.Series(np.arange(40) % 2).astype("int64").astype(kind)

    classes = tiny(TabularClassifier).fit(np.arange(40.0)[:, None] % 2, hold(y)).classes_

    assert classes.tolist() == y.unique().tolist()
    assert set(map(type, classes.tolist())) == set(map(type, y.tolist()))


def test_a_grid_of_numpy_numbers_is_searched() -> None:
    X, y = np.arange(40.0)[:, None] % 4, np.arange(40) % 2
    grid = {"epochs": np.array([1, 2]), "batch_size": np.array([8]), "members": np.array([2]), "lr": np.array([1e-2])}

    search = GridSearchCV(tiny(TabularClassifier), grid, cv=2, error_score="raise").fit(X, y)

    assert set(search.cv_results_["param_epochs"].tolist()) == {1, 2}
    for name in ("epochs", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            tiny(TabularClassifier, **{name: 0}).fit(X, y)


def test_one_row_as_a_series_is_refused_as_scikit_learn_does() -> None:
    X = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0) % 3})

    model = tiny(TabularClassifier).fit(X, np.arange(40) % 2)

    with pytest.raises(ValueError, match="Expected a 2-dimensional container"):
        model.predict(X.iloc[0])


def test_weights_change_what_is_learned() -> None:
    X, y = np.zeros((100, 1)), np.arange(100) % 2.0
    X[:, 0] = np.arange(100) % 4

    heavy = tiny(TabularRegressor, epochs=40, continuous=["x0"]).fit(X, y, sample_weight=np.where(X[:, 0] < 2, 1, 0))

    assert np.abs(heavy.predict(X)[:2] - [0, 1]).max() < 0.3
    with pytest.raises(ValueError, match="must hold numbers of at least 0"):
        tiny(TabularRegressor).fit(X, y, sample_weight=-np.ones(100))


def test_a_random_state_repeats_the_fit_and_leaves_those_of_others_alone(homes: Any) -> None:
    X, y = homes
    before = torch.get_rng_state()

    first, again, other = (tiny(TabularClassifier, random_state=seed).fit(X, y).predict_proba(X) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_pickle_holds_a_checkpoint_and_no_module(homes: Any) -> None:
    X, y = homes
    model = tiny(TabularClassifier, task=Multiclass(label_smoothing=0.1)).fit(X, y)

    pickled = pickle.dumps(model)

    strings = [argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)]
    assert not [name for name in strings if name.startswith(("torch", "tabvision.modules", "tabvision.inference"))]
    assert np.array_equal(pickle.loads(pickled).predict_proba(X), model.predict_proba(X))


def test_unpickling_reads_the_checkpoint_as_any_file_is_read(homes: Any) -> None:
    model = tiny(TabularClassifier).fit(*homes)
    model.checkpoint_ = model.checkpoint_[:-500]

    with pytest.raises(TabvisionError, match="is damaged or not a checkpoint"):
        pickle.loads(pickle.dumps(model))


@pytest.mark.slow
def test_it_is_cross_validated_searched_piped_and_cloned(homes: Any) -> None:
    X, y = homes
    pipe = make_pipeline(FunctionTransformer(lambda frame: frame.drop(columns="grade")), tiny(TabularClassifier))

    scores = cross_val_score(clone(pipe), X, y, cv=3)
    search = GridSearchCV(pipe, {"tabularclassifier__lr": [1e-5, 3e-2]}, cv=2).fit(X, y)

    assert len(scores) == 3
    assert search.best_params_ == {"tabularclassifier__lr": 3e-2}
    assert search.best_estimator_.score(X, y) > 0.6


def test_settings_reach_the_module_the_trainer_and_the_callbacks(homes: Any) -> None:
    X, y = homes
    callbacks = [FitTable(folds=False)]

    model = tiny(
        TabularClassifier,
        module={"net": "mlp", "widths": [8]},
        members=None,
        member_widths=None,
        callbacks=callbacks,
        split=0.25,
        trainer=CPU | {"max_steps": 7},
    ).fit(X, y)

    assert model.predictor_.module.hparams["widths"] == [8]
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\), got 1.5"):
        TabularClassifier(split=1.5).fit(X, y)
    assert callbacks[0].best_epoch == -1, "the callback itself was used, not a copy"


def test_one_class_is_refused_and_so_is_predicting_before_the_fit(homes: Any) -> None:
    X, _ = homes

    with pytest.raises(BadValueError, match="TabularClassifier: y must hold at least two classes, got 1 class, 'one'"):
        tiny(TabularClassifier).fit(X, ["one"] * len(X))
    with pytest.raises(NotFittedError):
        tiny(TabularClassifier).predict(X)


def test_a_y_that_lacks_rows_or_holds_dates_is_refused(homes: Any) -> None:
    frame = homes[0].head(12)
    days = pd.Series(pd.date_range("2024-01-01", periods=12))

    with pytest.raises(
        BadValueError, match=r"TabularClassifier: y must hold a class in every row, got none in 3 rows of 12"
    ):
        TabularClassifier().fit(frame, pd.Series(["a", "b", "c", None] * 3))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        TabularClassifier().fit(frame, ["a", "b"])
    for y in (days, days - days[0]):
        with pytest.raises(
            BadTypeError, match=r"TabularRegressor: y must hold numbers, got .+\. Convert them to numbers in a unit"
        ):
            TabularRegressor().fit(frame, y)


def test_without_scikit_learn_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)

    with pytest.raises(ImportError, match=r"pip install 'tabvision\[sklearn\]'"):
        runpy.run_path(str(Path(tabvision.__file__).with_name("sklearn.py")))


@pytest.mark.slow
def test_on_two_ranks_both_have_the_same_estimator(tmp_path: Path) -> None:
    def fit(folder: Path) -> None:
        X = people()
        two = {**CPU, "devices": 2, "strategy": "ddp"}
        model = TabularClassifier(epochs=2, random_state=0, trainer=two).fit(X.drop(columns="paid"), X["paid"])
        left = model.checkpoint_ + model.predict_proba(X.drop(columns="paid")).tobytes()
        (folder / os.environ["LOCAL_RANK"]).write_bytes(left)

    on_two(fit, tmp_path)

    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
