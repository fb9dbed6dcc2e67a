"""Estimators with scikit-learn's interface, which train on a table with the same parts as `tabvision train`.

They keep the trained network as the bytes of a checkpoint, so a pickle stores plain data, which our own loader reads.
"""

from __future__ import annotations

import copy
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, final

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from typing_extensions import override

from tabvision import lightning as pl
from tabvision.callbacks import AverageAndStop, FitTable, OneCycle
from tabvision.checks import check_whole
from tabvision.data import Split, TabularDataModule
from tabvision.data.tables.cells import with_columns
from tabvision.data.tables.read import check_names, frame_of_arrow
from tabvision.data.tables.sizes import most_epochs, table_batch_size
from tabvision.errors import BadTypeError, BadValueError, count, speaking
from tabvision.inference import Predictor
from tabvision.lightning import Callback
from tabvision.logs import notes_at, quiet_lightning
from tabvision.modules import TabularModule
from tabvision.random_state import same_random_state
from tabvision.schedules import Rates
from tabvision.tasks import Task, task_named

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_array, check_consistent_length, check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise ImportError("tabvision.sklearn needs scikit-learn. Install it: pip install 'tabvision[sklearn]'") from error

_NAMES = ("categorical", "continuous", "dates", "ignore")
_MODULE_SETTINGS = ("lr", "weight_decay", "dropout", "members", "member_widths")
_MAX_SEED = 2**31 - 1


class _TabularEstimator(BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn ships no types
    """The common part of both estimators: reading X, the fit, and the checkpoint."""

    def __init__(
        self,
        *,
        categorical: Sequence[str] | None = None,
        continuous: Sequence[str] | None = None,
        dates: Sequence[str] | None = None,
        ignore: Sequence[str] | None = None,
        task: Task | None = None,
        split: float | Split | Literal["auto"] | None = "auto",
        batch_size: int | None = None,
        epochs: int | None = None,
        callbacks: Sequence[Callback] | None = None,
        lr: Rates | None = None,
        weight_decay: float | None = None,
        dropout: float | None = None,
        members: int | None = None,
        member_widths: Sequence[int] | None = None,
        module: Mapping[str, Any] | None = None,
        trainer: Mapping[str, Any] | None = None,
        random_state: Any = None,  # noqa: ANN401 - a number, a RandomState or None
        verbose: bool = False,
    ) -> None:
        self.categorical = categorical
        self.continuous = continuous
        self.dates = dates
        self.ignore = ignore
        self.task = task
        self.split = split
        self.batch_size = batch_size
        self.epochs = epochs
        self.callbacks = callbacks
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.members = members
        self.member_widths = member_widths
        self.module = module
        self.trainer = trainer
        self.random_state = random_state
        self.verbose = verbose

    @speaking()
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:  # noqa: ANN401 - whatever scikit-learn takes
        """Train on rows and their targets.

        Args:
            X: (N, F), a DataFrame whose columns may be categories, numbers, dates or text with missing values, or an
                array, whose columns are named x0, x1 and so on.
            y: (N,) classes or numbers; numbers may also be (N, T).
            sample_weight: (N,) weight of each row in the loss, at least 0.

        Raises:
            ValueError: The rows cannot be used for training as they are.
        """
        frame = self._frame(X, y)
        if len(frame) < 2:
            raise BadValueError(f"X must have at least 2 rows, got {count(len(frame), 'sample')}", "Pass more rows")
        check_consistent_length(frame, y)
        if self.epochs is not None:
            check_whole("epochs", self.epochs)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, frame)
        targets, task = self._targets(y, frame)
        frame, weight = with_columns(frame, targets), _free("weight", [*frame, *targets])
        if weights is not None:
            frame[weight] = weights
        seed = int(check_random_state(self.random_state).randint(_MAX_SEED))
        with notes_at(verbose=bool(self.verbose)), quiet_lightning(), same_random_state():
            torch.manual_seed(seed)
            data = TabularDataModule(
                frame,
                [*targets] if len(targets) > 1 else next(iter(targets)),
                **{name: getattr(self, name) for name in _NAMES},
                task=self.task or task,
                split=None if self.split == "auto" and self.epochs else self.split,
                weight=None if weights is None else weight,
                batch_size=1 if self.batch_size is None else self.batch_size,
                seed=seed,
            )
            self._train(data)
        return self

    def _train(self, data: TabularDataModule) -> None:
        """Fit a network to the rows and keep its checkpoint."""
        num_rows = len(data.parts["train"].rows)
        data.batch_size = table_batch_size(num_rows) if self.batch_size is None else data.batch_size
        given = {name: value for name in _MODULE_SETTINGS if (value := getattr(self, name)) is not None}
        module = TabularModule(data.schema, **{**(self.module or {}), **given})
        callbacks = [OneCycle(), AverageAndStop(patience=None)] if self.epochs else [FitTable()]
        settings: dict[str, Any] = {
            "max_epochs": int(self.epochs or most_epochs(num_rows)),
            "callbacks": callbacks if self.callbacks is None else copy.deepcopy([*self.callbacks]),
            "enable_progress_bar": bool(self.verbose),
            "devices": 1,
        }
        quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        trainer = pl.Trainer(**{**settings, **quiet, **(self.trainer or {})})
        trainer.fit(module, data)
        self.n_iter_ = trainer.current_epoch
        with tempfile.TemporaryDirectory() as folder:
            path = trainer.strategy.broadcast(f"{folder}/fit.ckpt")  # all ranks read the first one's file
            trainer.save_checkpoint(path, weights_only=True)
            self.checkpoint_ = Path(path).read_bytes()
            trainer.strategy.barrier()
        self.predictor_ = Predictor(self.checkpoint_, device=trainer.strategy.root_device.type)

    def _frame(self, X: Any, y: Any = "no_validation") -> pd.DataFrame:  # noqa: ANN401
        """Return X as a frame; record its columns if y is passed, otherwise check that they are the same."""
        of_pandas = isinstance(X, pd.DataFrame | pd.Series)
        if hasattr(X, "__arrow_c_stream__") and not of_pandas:  # an array of polars' would lose types
            X = frame_of_arrow(X)
        is_named = isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X)
        if is_named:
            found = X.reset_index(drop=True)
            check_names(found)
        else:
            found = check_array(X, dtype=None, ensure_all_finite="allow-nan", estimator=self, input_name="X")
        validate_data(self, X, y, reset=not isinstance(y, str), skip_check_array=True)
        if is_named:
            return found
        names = getattr(self, "feature_names_in_", [f"x{number}" for number in range(found.shape[1])])
        return pd.DataFrame(found, columns=[*names]).infer_objects()

    @abstractmethod
    def _targets(self, y: Any, frame: pd.DataFrame) -> tuple[dict[str, NDArray[Any]], Task]:  # noqa: ANN401
        """Return the columns to predict by name, and their task."""

    def _predictions(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the probability of each class, (N, C), or the numbers, (N, T)."""
        check_is_fitted(self)
        with notes_at(verbose=bool(self.verbose)):
            answers = self.predictor_.predict(self._frame(X))
        found: NDArray[np.float64] = answers.iloc[:, int(answers.columns[0] == "label") :].to_numpy(np.float64)
        return found

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "checkpoint_")

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401 - scikit-learn's Tags
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        tags.target_tags.required = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings and the bytes of the checkpoint; no module is pickled."""
        state: dict[str, Any] = {**super().__getstate__()}
        state.pop("predictor_", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Load the checkpoint like any other file."""
        super().__setstate__(state)
        if "checkpoint_" in state:
            is_cpu = (self.trainer or {}).get("accelerator") == "cpu"
            self.predictor_ = Predictor(state["checkpoint_"], device="cpu" if is_cpu else "auto")


@final
class TabularClassifier(ClassifierMixin, _TabularEstimator):  # type: ignore[misc]
    """Classify the rows of a table, with scikit-learn's interface: a `TabularModule` trained with `FitTable`.

    Args:
        categorical: Columns to read as categories, whatever their values ("x0", "x1" and so on for an array). Other columns
            are inferred.
        continuous: Columns to read as numbers.
        dates: Columns to read as dates.
        ignore: Columns to leave out.
        task: A task with settings of your own, such as Multiclass(label_smoothing=0.1); None for the default.
        split: The validation rows, as for `TabularDataModule`. "auto" is None where none are needed, below 20,000 rows or
            with `epochs`, otherwise 0.2.
        batch_size: Rows per step; None to choose by the number of rows.
        epochs: Passes over the rows, in one cycle of the learning rate; None for early stopping with `FitTable`.
        callbacks: Callbacks of the Trainer to use instead; each fit gets copies.
        lr: Learning rate, as for `TabularModule`, like the next four.
        weight_decay: Strength of the weight decay.
        dropout: Fraction dropped after each hidden layer.
        members: Number of small networks whose predictions are averaged.
        member_widths: Width of each hidden layer of a member.
        module: Other settings of `TabularModule`, such as {"net": "mlp"}.
        trainer: Settings of the Trainer, such as {"accelerator": "cpu"}; a single device by default.
        random_state: Determines weights, row order and split; None for a different fit each time.
        verbose: Whether to print how the columns are read, and progress.

    Attributes:
        classes_: (C,) the classes, sorted.
        n_features_in_: The number of columns.
        feature_names_in_: Their names, if X was a frame.
        n_iter_: The number of epochs.
        checkpoint_: The network and its schema, as the bytes of a checkpoint: `Path("best.ckpt").write_bytes(...)`.
        predictor_: The `Predictor` that predicts.

    Example:
        >>> X = pd.DataFrame({"job": ["cook", "nurse"] * 40, "age": [30.5, None, 41.0, 52.0] * 20})
        >>> model = TabularClassifier(epochs=8, random_state=0).fit(X, X["job"] == "nurse")
        >>> model.classes_, model.score(X, X["job"] == "nurse")
        (array([False,  True]), 1.0)
    """

    @override
    def _targets(self, y: Any, frame: pd.DataFrame) -> tuple[dict[str, NDArray[Any]], Task]:
        of_pandas = isinstance(y, pd.DataFrame | pd.Series | pd.Index | pd.api.extensions.ExtensionArray)
        values = y.to_numpy() if of_pandas else y  # integers in Int64 stay exact
        y_ = column_or_1d(values, warn=True)
        if y_.dtype == object and (missing := pd.isna(y_)).any():
            problem = f"y must hold a class in every row, got none in {count(int(missing.sum()), 'row')} of {len(y_):,}"
            raise BadValueError(problem, "Leave out the rows whose class is not known")
        check_classification_targets(y_)
        check_array(y_, ensure_2d=False, dtype=None, input_name="y")
        self.classes_ = np.unique(y_)
        if len(self.classes_) < 2:
            problem = f"y must hold at least two classes, got 1 class, {self.classes_.item()!r}"
            raise BadValueError(problem, "Pass rows of at least two classes")
        task = task_named("binary" if len(self.classes_) == 2 else "multiclass")
        return {_free(getattr(y, "name", None), [*frame]): y_}, task

    @speaking()
    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the probability of each class, (N, C), in the order of `classes_`."""
        return self._predictions(X)

    @speaking()
    def predict(self, X: Any) -> NDArray[Any]:  # noqa: ANN401
        """Return the most probable class of each row, (N,)."""
        best = self._predictions(X).argmax(axis=1)
        found: NDArray[Any] = self.classes_[best]
        return found


@final
class TabularRegressor(RegressorMixin, _TabularEstimator):  # type: ignore[misc]
    """Predict numbers from the rows of a table, with scikit-learn's interface and the settings of `TabularClassifier`.

    Attributes:
        n_features_in_: The number of columns.
        feature_names_in_: Their names, if X was a frame.
        n_iter_: The number of epochs.
        checkpoint_: The network and its schema, as the bytes of a checkpoint.
        predictor_: The `Predictor` that predicts.

    Example:
        >>> X = np.linspace(0, 1, 200)[:, None]
        >>> TabularRegressor(epochs=20, random_state=0).fit(X, 3 * X[:, 0]).score(X, 3 * X[:, 0]) > 0.9
        True
    """

    @override
    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @override
    def _targets(self, y: Any, frame: pd.DataFrame) -> tuple[dict[str, NDArray[Any]], Task]:
        if (kind := np.asarray(y).dtype).kind in "mM":
            problem = f"y must hold numbers, got {kind}"
            raise BadTypeError(
                problem, "Convert them to numbers in a unit of your choice, such as y / np.timedelta64(1, 'D')"
            )
        y_ = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        if y_.ndim == 1 or y_.shape[1] == 1:
            targets = {_free(getattr(y, "name", None), [*frame]): column_or_1d(y_, warn=True)}
        else:
            targets = {_free(f"target_{number}", [*frame]): values for number, values in enumerate(y_.T)}
        return targets, task_named("regression")

    @speaking()
    def predict(self, X: Any) -> NDArray[np.float64]:  # noqa: ANN401
        """Return one number per row, (N,), or several, (N, T)."""
        found = self._predictions(X)
        return found[:, 0] if found.shape[1] == 1 else found


def _free(name: object, taken: Sequence[str]) -> str:
    """Return a column name that is not taken.

    Example:
        >>> _free("paid", ["age"]), _free(None, ["target"])
        ('paid', 'target_')
    """
    found = name if isinstance(name, str) and name else "target"
    while found in taken:
        found += "_"
    return found
