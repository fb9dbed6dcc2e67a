"""`tabvision calibrate`: calibrate predicted probabilities (temperature scaling) or add intervals to predicted numbers."""

from __future__ import annotations

import argparse
from typing import Any

from tabvision.cli.arguments import fraction
from tabvision.cli.options import add_form_options, form_of


def add_calibrate(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Add the command."""
    parser = commands.add_parser(
        "calibrate", help="fit temperature, thresholds or intervals on rows not used in training"
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, such as best.ckpt")
    parser.add_argument(
        "data", metavar="DATA", help="a table with the target, or a folder of class folders, not used in training"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the calibrated checkpoint: a new .ckpt file")
    parser.add_argument(
        "--metric", help="choose thresholds by f1, f2, accuracy, balanced_accuracy or youden (two classes, labels)"
    )
    parser.add_argument("--per-label", action="store_true", help="a temperature for each label instead of one")
    parser.add_argument(
        "--coverage", type=fraction, default=0.9, help="coverage of intervals around numbers (default: 0.9)"
    )
    add_form_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Write the calibrated checkpoint and print what changed."""
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
            overwrite=arguments.overwrite,
            **form_of(arguments),
        )
    print(f"Calibrated on {count(fitted.num_rows, 'row')}: {arguments.out}")
    for name, values in fitted.calibration.to_dict().items():
        if values:
            numbers = values if isinstance(values, list) else [values]
            print(f"  {name}: {', '.join(f'{value:.6g}' for value in numbers)}")
    for name, before in fitted.before.items():
        print(f"  {name}: {before:.4f} before, {fitted.after[name]:.4f} after")
