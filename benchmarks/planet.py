"""Multi-label images compared with fastai: satellite chips, same body, weights, split, size, batch, epochs and threads.

    python -m venv peers && peers/bin/pip install -r benchmarks/peers-requirements.txt
    python benchmarks/planet.py PLANET --fastai-python peers/bin/python --out benchmarks/results/planet.json

PLANET holds `labels.csv` (image_name, tags) and a folder `train` of chips, such as fastai's sample of a thousand. One fifth
validates, drawn by `numpy.random.RandomState(42)`, without chips that have a label missing from training. Both train
EfficientNet-Lite0 with a concat-pool head at 128 px in batches of 32: one epoch for the head alone, four for all layers, at
base rate 1e-2, with all eight orientations of a chip, no perspective, and little lighting and zoom, as in fastai's course.
fastai uses `fine_tune` and its metric `FBetaMulti` with beta 2; tabvision's probabilities go through the same scikit-learn
function. The course predicts a label from a probability of 0.2. At `fine_tune`'s default rate of 2e-3, both libraries score
below the label frequencies alone, since eight hundred chips give too few steps. Each run has its own process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.beside_fastai import PACKAGES, fine_tuned_in_turns, make_peers_parser
from benchmarks.common import describe_run, run_facts, spread_of, table, tell
from benchmarks.quiet import quiet_trainer

NET = "tf_efficientnet_lite0"
SIZE, PRESIZE, BATCH_SIZE, EPOCHS, RATE = 128, 160, 32, 5, 1e-2
THRESHOLDS = (0.2, 0.5)  # fast.ai's course; a task's default
AVERAGES = ("macro", "samples")  # fastai's default; the competition's


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.run:
        print(json.dumps(RUNS[options.run](options)))
        return
    found = fine_tuned_in_turns(__file__, options.planet, options, RUNS)
    result = {**run_facts(options.threads, (*PACKAGES, "scikit-learn")), "runs": found}
    tell(result, to_markdown(result), options.out)


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_peers_parser(__doc__, RUNS)
    parser.add_argument("planet", type=Path, help="a folder with labels.csv and the folder train")
    return parser.parse_args(words)


def validation_rows(tags: Sequence[str]) -> list[int]:
    """Return the validation rows: the last fifth of a fixed order, without rows whose label no other row has.

    Example:
        >>> validation_rows(["clear"] * 3 + ["haze"] + ["clear"] * 6)
        [6]
    """
    import numpy as np

    order = np.random.RandomState(42).permutation(len(tags))
    training, validation = np.split(order, [int(0.8 * len(tags))])
    known = {label for row in training for label in tags[row].split()}
    return sorted(int(row) for row in validation if known.issuperset(tags[row].split()))


def scores(probabilities: Any, target: Any) -> dict[str, float]:  # noqa: ANN401 - numpy is imported only later
    """Return F2 by threshold and average.

    Example:
        >>> import numpy as np
        >>> scores(np.array([[0.9, 0.1]]), np.array([[1, 0]]))["samples 0.5"]
        1.0
    """
    metrics: Any = importlib.import_module("sklearn.metrics")
    return {
        f"{average} {limit}": float(
            metrics.fbeta_score(target, probabilities > limit, beta=2, average=average, zero_division=0)
        )
        for average in AVERAGES
        for limit in THRESHOLDS
    }


def run_tabvision(options: argparse.Namespace) -> dict[str, Any]:
    import pandas as pd
    import pytorch_lightning as pl
    import torch

    from datamodules.planet import PlanetDataModule
    from tabvision.callbacks import FineTune
    from tabvision.data import IndexSplit
    from tabvision.inference import gather
    from tabvision.modules import VisionModule

    torch.set_num_threads(options.threads)
    pl.seed_everything(options.seed, verbose=False)
    start = time.perf_counter()
    split = IndexSplit(validation_rows(pd.read_csv(options.planet / "labels.csv")["tags"].tolist()))
    data = PlanetDataModule(
        options.planet, size=SIZE, batch_size=BATCH_SIZE, seed=options.seed, split=split, verbose=False
    )
    module = VisionModule(data.schema, body="efficientnet_lite0")
    trainer = quiet_trainer(EPOCHS, FineTune(1, base_lr=RATE))
    trainer.fit(module, data)
    seconds = time.perf_counter() - start
    answers = gather(trainer.predict(module, data.val_dataloader()))
    target = data.parts["val"].tensors["target"][answers["index"]]
    return {"seconds": seconds, **scores(answers["predictions"].numpy(), target.numpy())}


def run_fastai(options: argparse.Namespace) -> dict[str, Any]:
    import pandas as pd
    import torch

    fastai: Any = importlib.import_module("fastai.vision.all")
    timm: Any = importlib.import_module("timm")
    torch.set_num_threads(options.threads)
    fastai.set_seed(options.seed)
    start = time.perf_counter()
    frame = pd.read_csv(options.planet / "labels.csv")
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.MultiCategoryBlock),
        splitter=fastai.IndexSplitter(validation_rows(frame["tags"].tolist())),
        get_x=fastai.ColReader("image_name", pref=f"{options.planet}/train/", suff=".jpg"),
        get_y=fastai.ColReader("tags", label_delim=" "),
        item_tfms=fastai.Resize(PRESIZE),
        batch_tfms=[
            *fastai.aug_transforms(
                size=SIZE, min_scale=0.75, flip_vert=True, max_lighting=0.1, max_zoom=1.05, max_warp=0.0
            ),
            fastai.Normalize.from_stats([0.5] * 3, [0.5] * 3),
        ],
    )
    loaders = block.dataloaders(frame, bs=BATCH_SIZE, num_workers=options.threads)
    body = timm.create_model(NET, pretrained=False, num_classes=0, global_pool="")
    body.load_state_dict(torch.load(options.weights, weights_only=True))
    head = fastai.create_head(body.num_features, loaders.c)
    fastai.apply_init(head, torch.nn.init.kaiming_normal_)
    metrics = {
        f"{average} {limit}": fastai.FBetaMulti(beta=2, thresh=limit, average=average)
        for average in AVERAGES
        for limit in THRESHOLDS
    }
    learner = fastai.Learner(
        loaders,
        torch.nn.Sequential(body, head),
        metrics=list(metrics.values()),
        splitter=lambda net: [fastai.params(net[0]), fastai.params(net[1])],
    )
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(EPOCHS - 1, RATE)
        seconds = time.perf_counter() - start
        measured = learner.validate()[1:]
    return {"seconds": seconds, **dict(zip(metrics, map(float, measured), strict=True))}


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table with one line per library: mean and std of F2 over seeds, by average and threshold."""
    runs = result["runs"]
    names = [name for name in runs["tabvision"][0] if name != "seconds"]
    rows = []
    for library, found in runs.items():
        spreads = [spread_of([run[name] for run in found]) for name in names]
        cells = [f"{each['mean']:.3f} ± {each['spread']:.3f}" for each in spreads]
        rows.append([library, *cells, f"{spread_of([run['seconds'] for run in found])['mean']:.0f}"])
    said = f"F2, mean and spread over {len(runs['tabvision'])} seeds, by average and threshold."
    return f"{table(['planet', *names, 'seconds'], rows)}\n\n{said} {describe_run(dict(result))}."


RUNS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {"fastai": run_fastai, "tabvision": run_tabvision}


if __name__ == "__main__":
    main()
