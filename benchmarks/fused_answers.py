"""Predict from photos, from a table, and from both, compared with gradient boosting on the same rows.

    python benchmarks/fused_answers.py --path houses/houses.csv --target price --log \
        --image frontal kitchen bathroom bedroom --categorical zipcode --out benchmarks/results/fused_answers.json

Rows are split at random: 64 % to train, 16 % for early stopping, 20 % to test. The table's network is plain `tabvision
train`, and the network for table and photos fits as the command does; both train on the first two parts, since they stop
by out-of-fold loss. Photos alone use ridge regression on the body's features of all photos in a row, with the penalty
chosen by cross-validation. Boosting on both gets the first 32 principal components of these features as columns. lightgbm
is skipped if it is not installed. Lower is better: root mean squared error of the target, or of its logarithm.
Nothing was chosen by looking at the test rows of these splits. How photos join the network was chosen on other splits
of the same houses, and on synthetic rows in which the photos, the table, both or neither determine the target.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, make_parser, run_facts, table, tell
from benchmarks.quiet import quiet_trainer
from benchmarks.table_answers import Parts, boosting, lightgbm, tabvision_default
from tabvision.callbacks import FitTable, Unfreeze
from tabvision.data import FusedDataModule, TabularDataModule
from tabvision.data.base import DataPart
from tabvision.data.tables.sizes import most_epochs, table_batch_size
from tabvision.lightning import Callback
from tabvision.modules import FusedModule
from tabvision.nets.layers import evaluating
from tabvision.preprocess import Columns
from tabvision.preprocess.encode import to_arrays
from tabvision.schema import Image

COMPONENTS, STRENGTHS = 32, np.logspace(1, 6, 11)


def divided(frame: pd.DataFrame, target: str, seed: int) -> tuple[Parts, list[NDArray[np.intp]]]:
    """Return the rows in three random parts, with the row numbers of each."""
    order = np.random.default_rng(seed).permutation(len(frame))
    rows = np.split(order, [int(0.64 * len(frame)), int(0.8 * len(frame))])
    train, stop, test = (frame.iloc[each].reset_index(drop=True) for each in rows)
    return Parts(train, stop, test, target, ()), rows


class _FitHeads(Callback):
    """Do what `FrozenFeatures` does before training begins."""

    @override
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        pl_module.fit_on_features(trainer.datamodule.parts["train"].tensors)


def fused(
    parts: Parts,
    rows: Sequence[NDArray[np.intp]],
    features: NDArray[Any],
    seed: int,
    options: Any,  # noqa: ANN401 - parsed arguments
) -> NDArray[Any]:
    """Fit what `tabvision train --image` fits on a small table, on features that are computed once for all splits."""
    torch.manual_seed(seed)
    known = pd.concat([parts.train, parts.stop], ignore_index=True)
    data = TabularDataModule(known, parts.target, split=None, categorical=options.categorical, seed=seed, verbose=False)
    data.batch_size = table_batch_size(len(known))
    image = Image(name=options.image[0], others=tuple(options.image[1:]), size=(options.size,) * 2, optional=True)
    data.schema = replace(data.schema, image=image)
    tensors, numbers = data.parts["train"]
    with_photos = {**tensors, **_photos(features[np.concatenate(rows[:2])], len(options.image))}
    data.parts["train"] = DataPart(with_photos, numbers)
    module = FusedModule(data.schema, body=options.body)
    data.schema = module.schema  # has the body's normalization statistics
    callbacks = [Unfreeze({0: 2}), _FitHeads(), FitTable()]
    quiet_trainer(most_epochs(len(known)), *callbacks, enable_progress_bar=False).fit(module, data)
    continuous, categories = to_arrays(data.schema, Columns(parts.test))
    batch: Any = {"continuous": torch.from_numpy(continuous), "categorical": torch.from_numpy(categories)}
    with evaluating(module), torch.no_grad():
        logits = module({**batch, **_photos(features[rows[2]], len(options.image))})
    return np.asarray(module.task.in_user_units(module.task.activate(logits), None)[:, 0], dtype=np.float64)


def _photos(features: NDArray[Any], num_photos: int) -> dict[str, Tensor]:
    found = torch.from_numpy(features).float().reshape(len(features), num_photos, -1)
    return {"features": found, "has_image": torch.ones(len(found), num_photos)}


def categorical(options: Any) -> list[str]:  # noqa: ANN401 - parsed arguments
    """Return the command's words that name the categorical columns."""
    return ["--categorical", ",".join(options.categorical)] if options.categorical else []


def features_of(frame: pd.DataFrame, options: Any) -> NDArray[np.float64]:  # noqa: ANN401 - parsed arguments
    """Return the body's features of all photos in each row, (rows, photos * features)."""
    settings: dict[str, Any] = {"root": options.path.parent, "size": options.size, "augment": "none", "split": None}
    data = FusedDataModule(frame, options.target, image=options.image, verbose=False, **settings)
    module = FusedModule(data.schema, body=options.body).eval()
    found: list[Any] = [None] * len(frame)
    with torch.inference_mode():
        for batch in data.ordered_loader("train"):
            for row, values in zip(
                batch["index"], module.features(data.on_after_batch_transfer(batch, 0)), strict=True
            ):
                found[int(row)] = values.flatten().numpy()
    return np.stack(found).astype(np.float64)


def photos_alone(parts: Parts, rows: Sequence[NDArray[np.intp]], features: NDArray[np.float64]) -> NDArray[Any]:
    """Predict with ridge regression on the photos' features."""
    from sklearn.linear_model import RidgeCV

    known = np.concatenate(rows[:2])
    mean, std = features[known].mean(axis=0), features[known].std(axis=0) + 1e-9
    target = pd.concat([parts.train, parts.stop])[parts.target]
    model = RidgeCV(STRENGTHS).fit((features[known] - mean) / std, target)
    return np.asarray(model.predict((features[rows[2]] - mean) / std))


def with_components(parts: Parts, rows: Sequence[NDArray[np.intp]], features: NDArray[np.float64]) -> Parts:
    """Return the parts with the first principal components of the features as extra columns."""
    from sklearn.decomposition import PCA

    known = PCA(COMPONENTS, random_state=0).fit(features[np.concatenate(rows[:2])])
    names = [f"component_{number}" for number in range(COMPONENTS)]
    more = [pd.DataFrame(known.transform(features[each]), columns=names) for each in rows]
    train, stop, test = (part.join(each) for part, each in zip(parts[:3], more, strict=True))
    return Parts(train, stop, test, parts.target, ())


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the figures as a table, with their standard errors over the splits."""
    errors = result["errors"]
    spread = {name: stdev(values) / len(values) ** 0.5 for name, values in errors.items()}
    best = min(errors, key=lambda name: fmean(errors[name]))
    rows = []
    for name, values in errors.items():
        mean = f"{fmean(values):.4f} ± {spread[name]:.4f}"
        difference = [one - other for one, other in zip(values, errors["fused"], strict=True)]
        beside = "" if name == "fused" else f"{fmean(difference):+.4f} ± {stdev(difference) / len(values) ** 0.5:.4f}"
        rows.append([name, f"**{mean}**" if name == best else mean, beside])
    head = ["", "error ± standard error", "minus fused, paired"]
    text = f"{result['rows']:,} rows of {result['data']}, {result['splits']} splits; "
    text += f"{result['body']} at {result['size']} pixels."
    return f"{table(head, rows)}\n\n{text} {describe_run(dict(result))}"


def methods_of(
    whole: Parts,
    rows: Sequence[NDArray[np.intp]],
    features: NDArray[np.float64],
    seed: int,
    options: Any,  # noqa: ANN401
) -> dict[str, Callable[[], NDArray[Any]]]:
    """Return each method as a function that predicts the test rows of a split."""
    train, stop, test = (part.drop(columns=options.image) for part in whole[:3])
    columns = Parts(train, stop, test, options.target, ())
    both = with_components(columns, rows, features)
    boosted = {"boosting": boosting, **({"lightgbm": lightgbm} if find_spec("lightgbm") else {})}
    mean = whole.train[options.target].mean()
    return {
        "naive": lambda: np.full(len(test), mean),
        "photos alone": lambda: photos_alone(whole, rows, features),
        "table alone": lambda: tabvision_default(columns, seed, *categorical(options)),
        **{f"{name}, table": partial(run, columns, seed) for name, run in boosted.items()},
        **{f"{name}, table + features": partial(run, both, seed) for name, run in boosted.items()},
        "fused": lambda: fused(columns, rows, features, seed, options),
    }


def parsed() -> Any:  # noqa: ANN401 - parsed arguments
    """Return the parsed options."""
    parser = make_parser(__doc__)
    parser.add_argument("--path", type=Path, required=True, help="a CSV file with paths of photos relative to it")
    parser.add_argument("--target", required=True)
    parser.add_argument("--image", nargs="+", required=True, help="the columns of paths")
    parser.add_argument("--categorical", nargs="*", default=[])
    parser.add_argument("--log", action="store_true", help="predict the logarithm of the target")
    parser.add_argument("--body", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--splits", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    options = parsed()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("tabvision").setLevel(logging.ERROR)
    frame = pd.read_csv(options.path)
    frame[options.categorical] = frame[options.categorical].astype(str)
    if options.log:
        frame[options.target] = np.log(frame[options.target])
    features = features_of(frame, options)
    errors: dict[str, list[float]] = {}
    for seed in range(options.splits):
        whole, rows = divided(frame, options.target, seed)
        for name, run in methods_of(whole, rows, features, seed, options).items():
            start = time.process_time()
            errors.setdefault(name, []).append(whole.error(run()))
            print(seed, name, round(errors[name][-1], 4), f"{time.process_time() - start:.0f} s", flush=True)
    facts = {"data": options.path.stem, "rows": len(frame), "body": options.body, "size": options.size}
    packages = ("tabvision", "torch", "scikit-learn", "lightgbm", "timm")
    result = {**run_facts(1, packages), **facts, "splits": options.splits, "errors": errors}
    tell(result, to_markdown(result), options.out)


if __name__ == "__main__":
    main()
