"""Other networks for tables, for `table_answers.py`: pytabkit's and fastai's, with their own defaults.

    python benchmarks/table_answers.py --methods tabvision realmlp tabm fastai --seeds 1 \
        --sets oj carseats concrete boston college attrition hitters --out benchmarks/results/table_answers_networks.json

RealMLP and TabM use the early-stopping rows. fastai has no default number of epochs: its learner trains for one cycle of
thirty, and keeps the epoch with the lowest loss on these rows.
"""

from __future__ import annotations

import importlib
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from benchmarks.table_answers import Parts

EPOCHS = 30  # for fastai


def realmlp(parts: Parts, seed: int) -> NDArray[Any]:
    """Run RealMLP with its tuned defaults."""
    return _of_pytabkit("RealMLP_TD", parts, seed)


def tabm(parts: Parts, seed: int) -> NDArray[Any]:
    """Run TabM with its defaults."""
    return _of_pytabkit("TabM_D", parts, seed)


def _of_pytabkit(name: str, parts: Parts, seed: int) -> NDArray[Any]:
    """Return the predictions of one of pytabkit's networks, on one CPU."""
    pytabkit: Any = importlib.import_module("pytabkit")
    features, targets = parts.encoded()
    kind = getattr(pytabkit, f"{name}_{'Classifier' if parts.classes else 'Regressor'}")
    model = kind(device="cpu", random_state=seed, n_threads=1, verbosity=0)
    model.fit(features[0], targets[0], X_val=features[1], y_val=targets[1])
    return np.asarray(model.predict_proba(features[2]) if parts.classes else model.predict(features[2]))


def fastai(parts: Parts, seed: int) -> NDArray[Any]:
    """Run fastai's tabular learner: its default layers and rate, one cycle, the best epoch."""
    tabular: Any = importlib.import_module("fastai.tabular.all")
    tabular.set_seed(seed)
    features, targets = parts.encoded()
    names = [name for name in features[0] if features[0][name].dtype == "category"]
    frame = pd.concat(features, ignore_index=True).assign(**{parts.target: np.concatenate(targets)})
    num_train, num_known = len(features[0]), len(features[0]) + len(features[1])
    table = tabular.TabularPandas(
        frame.iloc[:num_known].copy(),
        procs=[tabular.Categorify, tabular.FillMissing, tabular.Normalize],
        cat_names=names,
        cont_names=[name for name in features[0] if name not in names],
        y_names=parts.target,
        y_block=tabular.CategoryBlock(vocab=[*range(len(parts.classes))])
        if parts.classes
        else tabular.RegressionBlock(),
        splits=([*range(num_train)], [*range(num_train, num_known)]),
    )
    with tempfile.TemporaryDirectory() as folder:
        learner = tabular.tabular_learner(table.dataloaders(bs=64), path=folder)
        with learner.no_bar(), learner.no_logging():
            learner.fit_one_cycle(EPOCHS, cbs=tabular.SaveModelCallback(monitor="valid_loss"))
            rows = learner.dls.test_dl(frame.iloc[num_known:].drop(columns=parts.target))
            answers = learner.get_preds(dl=rows)[0].numpy()
    return np.asarray(answers if parts.classes else answers[:, 0], dtype=np.float64)
