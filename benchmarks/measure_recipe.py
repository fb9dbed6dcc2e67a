"""Train a recipe once per seed and write the measurements: result.json, and card.md rendered from it.

    python benchmarks/measure_recipe.py models/flights
    python benchmarks/measure_recipe.py models/adult --data.init_args.path=adult.csv --seeds 0,1,2
    python benchmarks/measure_recipe.py models/flights --render        render the card again from result.json
    python benchmarks/measure_recipe.py models/flights --bag 5         best.json and best.md: a bag of five such fits

Each seed trains in its own process, so that peak memory and random state are separate. The seed also decides the order
of the rows; the datamodule decides which rows validate. A bag is what `tabvision train --preset best` trains: its networks
learn from the training and validation rows together, and each row is predicted by networks that left it out. Arguments
that this script does not know are passed to the recipe, as on the command line of `tabvision fit`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from benchmarks.cards import render_card
from benchmarks.common import (
    ROOT,
    available_cores,
    commit,
    last_json,
    machine,
    peak_memory_mib,
    spread_of,
    versions,
    write_json,
    write_text,
)

__all__ = ["measure", "render_card"]
FORMAT = 1
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
DOC_SECTIONS = ("Source", "License", "Limits")


def main(words: Sequence[str] | None = None) -> None:
    options, extra = parse(words)
    if options.one_seed is not None:
        sys.argv = sys.argv[:1]  # LightningCLI would read our own options as the recipe's
        clock, one = CLOCKS[options.clock], (options.recipe, options.one_seed, options.threads)
        print(json.dumps(train_once(*one, extra, options.bag, clock)))
        return
    folder = options.out or options.recipe
    figures, card = [
        folder / name for name in (("best.json", "best.md") if options.bag else ("result.json", "card.md"))
    ]
    if not options.render:
        run = (options.recipe, options.seeds, options.threads, extra)
        write_json(figures, measure(*run, bag=options.bag, clock=options.clock))
    result = json.loads(figures.read_text(encoding="utf-8"))
    write_text(card, render_card(options.recipe.resolve().name, result))
    print(card)


def parse(words: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Return our own options, and the words to pass to the recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="a folder with recipe.yaml, such as models/flights")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], help="separated by commas")
    parser.add_argument("--threads", type=int, default=available_cores(), help="torch's threads (default: all cores)")
    parser.add_argument("--out", type=Path, help="the folder for result.json and card.md (default: the recipe's own)")
    parser.add_argument("--bag", type=int, default=0, help="number of networks in a bag; 0 for a single fit")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="processor: CPU time, for a busy machine")
    parser.add_argument("--render", action="store_true", help="only render card.md from result.json")
    parser.add_argument("--one-seed", type=int, help=argparse.SUPPRESS)
    options, extra = parser.parse_known_args(words)
    if not (options.recipe / "recipe.yaml").is_file():
        parser.error(f"no recipe.yaml in {options.recipe}; name a folder such as models/flights")
    if options.bag == 1:
        parser.error("--bag must be at least 2, got 1; leave it out for a single fit")
    if wrong := [word for word in extra if not re.match(r"--[a-z_]+[.=]", word)]:
        parser.error(f"not understood: {' '.join(wrong)}; write a recipe's setting as --data.init_args.path=FILE")
    return options, extra


def measure(
    recipe: Path, seeds: Sequence[int], threads: int, extra: Sequence[str] = (), *, bag: int = 0, clock: str = "wall"
) -> dict[str, Any]:
    """Return the contents of result.json."""
    code, settings = commit(), [_without_folders(word) for word in extra]
    runs: list[dict[str, Any]] = []
    for seed in seeds:
        runs.append(_in_own_process(recipe, seed, threads, extra, [f"--bag={bag}", f"--clock={clock}"]))
        print(f"seed {seed}: {runs[-1]['metrics']}", file=sys.stderr)
    first = runs[0]
    return {
        "format": FORMAT,
        "command": _command(recipe, seeds, settings, bag),
        "bag": bag,
        "clock": clock,
        "settings": settings,
        "seeds": list(seeds),
        "data": first["data"],
        "model": first["model"],
        "epochs": first["epochs"],
        "metrics": {name: spread_of([run["metrics"][name] for run in runs]) for name in first["metrics"]},
        "baseline": first["baseline"],
        "training_seconds": spread_of([run["training_seconds"] for run in runs]),
        **({} if bag else {"training_rows_per_second": spread_of([run["training_rows_per_second"] for run in runs])}),
        "total_seconds": spread_of([run["total_seconds"] for run in runs]),
        "peak_memory_mib": max(run["peak_memory_mib"] for run in runs),
        "versions": versions(),
        "commit": code,
        "machine": machine(threads),
    }


def _in_own_process(
    recipe: Path, seed: int, threads: int, extra: Sequence[str], options: Sequence[str]
) -> dict[str, Any]:
    command = [
        sys.executable,
        __file__,
        str(recipe),
        "--one-seed",
        str(seed),
        "--threads",
        str(threads),
        *options,
        *extra,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"seed {seed} failed; its message is above")
    return last_json(done.stdout)


def train_once(
    recipe: Path,
    seed: int,
    threads: int,
    extra: Sequence[str],
    bag: int = 0,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Train the recipe in this process, and return the figures for the weights that the fit ends with."""
    start = now()
    import torch

    from benchmarks.clock import TrainingClock
    from tabvision.cli.lightning_cli import make_cli

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        words = [f"--config={recipe / 'recipe.yaml'}", f"--seed_everything={seed}", f"--data.init_args.seed={seed}"]
        words += [f"--trainer.default_root_dir={scratch}", "--data.init_args.verbose=false", *extra]
        cli = make_cli(words, run=False)
        trainer, data, clock = cli.trainer, cli.datamodule, TrainingClock(now)
        if trainer.logger is not None:
            from pytorch_lightning.loggers import CSVLogger

            trainer.logger = CSVLogger(scratch)
        if bag:
            module, metrics, data = _fit_bag(recipe, cli, clock, bag)
        else:
            trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]  # a plain list, set by Lightning's connector
            trainer.fit(cli.model, data)
            trainer.logger, module = None, cli.model
            metrics = dict(trainer.validate(module, data, verbose=False)[0])
        if "test" in data.parts:
            metrics |= trainer.test(module, data, verbose=False)[0]
    seconds, rows = sum(clock.epoch_seconds), {name: len(part.rows) for name, part in data.parts.items()}
    tested = {name.replace("val/", "test/"): value for name, value in data.baseline("test").items()}
    return {
        "metrics": metrics,
        "baseline": tested if bag else data.baseline() | tested,
        "epochs": len(clock.epoch_seconds),
        "training_seconds": seconds,
        "training_rows_per_second": rows["train"] * len(clock.epoch_seconds) / seconds,
        "total_seconds": now() - start,
        "peak_memory_mib": peak_memory_mib(),
        "data": {**describe_data(data), "rows": rows, "batch_size": data.batch_size},
        "model": {**_settings(recipe, "model"), "parameters": sum(weight.numel() for weight in module.parameters())},
    }


def _fit_bag(recipe: Path, cli: Any, clock: Any, bag: int) -> tuple[Any, dict[str, float], Any]:  # noqa: ANN401
    """Return a bag of several fits of a recipe, its out-of-fold metrics, and its data with test rows."""
    import pytorch_lightning as pl

    from tabvision.callbacks import FitTable
    from tabvision.modules import TabularModule
    from tabvision.tuning import cross_validate

    def trainer() -> pl.Trainer:
        settings: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
        return pl.Trainer(max_epochs=cli.trainer.max_epochs, callbacks=[clock, FitTable()], **settings)

    every = cli.datamodule.with_validation_rows()
    model = TabularModule(every.schema, **_settings(recipe, "model")["settings"])
    found = cross_validate(model, every, trainer=trainer, num_folds=bag)
    given = vars(cli.config["data"]["init_args"])
    data = type(cli.datamodule)(**{**given, "schema": every.schema})  # the schema is fitted to all rows that train
    return found.module, {f"val/{name}": value for name, value in found.metrics.items()}, data


def describe_data(data: object) -> dict[str, str]:
    """Return what a datamodule's docstring says about its data: the summary, and the paragraphs Source, License and Limits.

    Example:
        >>> class Demo:
        ...     '''What is it?
        ...
        ...     Source: made up,
        ...     here
        ...     '''
        >>> describe_data(Demo())["source"]
        'made up, here'
    """
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.getdoc(type(data)) or "")]
    found = {"class": f"{type(data).__module__}.{type(data).__qualname__}", "summary": paragraphs[0]}
    for section in DOC_SECTIONS:
        found |= {section.lower(): part.partition(": ")[2] for part in paragraphs if part.startswith(f"{section}: ")}
    return found


def _settings(recipe: Path, part: str) -> dict[str, Any]:
    settings = yaml.safe_load((recipe / "recipe.yaml").read_text(encoding="utf-8"))[part]
    return {"class": settings["class_path"], "settings": settings.get("init_args") or {}}


def _command(recipe: Path, seeds: Sequence[int], settings: Sequence[str], bag: int) -> str:
    """Return the command that repeats this measurement."""
    name = recipe.resolve().name
    where = f"models/{name}" if recipe.resolve().parent == ROOT / "models" else name
    words = [where, f"--seeds {','.join(map(str, seeds))}", *([f"--bag {bag}"] if bag else []), *settings]
    return " ".join(["python benchmarks/measure_recipe.py", *words])


def _without_folders(word: str) -> str:
    """Return a setting with a file name in place of a path on this machine.

    Example:
        >>> _without_folders("--data.init_args.path=/home/me/adult.csv")
        '--data.init_args.path=adult.csv'
    """
    option, equals, value = word.partition("=")
    return f"{option}{equals}{Path(value).name}" if os.sep in value else word


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    main()
