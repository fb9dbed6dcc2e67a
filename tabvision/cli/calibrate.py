"""`tabvision calibrate`: a checkpoint whose probabilities are as sure as they are right, or whose numbers have intervals."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.arguments import share


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("calibrate", help="fit temperature, thresholds or intervals on rows not trained on")
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, such as best.ckpt")
    parser.add_argument(
        "data", metavar="DATA", help="a table with the target, or a folder of class folders: what training did not see"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the calibrated checkpoint: a new .ckpt file")
    parser.add_argument(
        "--metric", help="choose thresholds by f1, f2, accuracy, balanced_accuracy or youden (two classes, labels)"
    )
    parser.add_argument("--per-label", action="store_true", help="a temperature for each label instead of one")
    parser.add_argument("--coverage", type=share, default=0.9, help="of the intervals around numbers (default: 0.9)")
    parser.add_argument("--encoding", help='of a text file that is not UTF-8, such as "latin-1"')
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes the calibrated checkpoint and says what changed."""
    from tabvision.errors import count, speaking
    from tabvision.inference import Predictor

    predictor = Predictor(arguments.checkpoint)
    with speaking("tabvision calibrate"):
        fitted = predictor.calibrate(
            arguments.data,
            out=arguments.out,
            per_label=arguments.per_label,
            metric=arguments.metric,
            coverage=arguments.coverage,
            encoding=arguments.encoding,
            overwrite=arguments.overwrite,
        )
    print(f"Calibrated on {count(fitted.num_rows, 'row')}: {arguments.out}")
    for name, values in fitted.calibration.to_dict().items():
        if values:
            print(f"  {name}: {_shown(values)}")
    for name, before in fitted.before.items():
        print(f"  {name}: {before:.4f} before, {fitted.after[name]:.4f} after")


def _shown(values: float | list[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in (values if isinstance(values, list) else [values]))
