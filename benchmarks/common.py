"""Shared by the scripts: options, facts about machine, versions and commit, summaries, tables, and atomic writes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OWN_PACKAGES = ("tabvision", "torch", "pytorch-lightning", "torchmetrics", "pandas", "numpy", "pyarrow")
MEASURED_FILES = ("models/*/result.json", "models/*/card.md", "benchmarks/results", "benchmarks/RESULTS.md")
KIB_PER_MIB = 1024


def make_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a script's parser: its docstring is the help, and `--out` names a file for the figures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    return parser


def run_facts(threads: int, packages: Iterable[str] = OWN_PACKAGES) -> dict[str, Any]:
    """Return the machine, versions and commit that a script measures with."""
    return {"machine": machine(threads), "versions": versions(packages), "commit": commit()}


def tell(result: dict[str, Any], text: str, out: Path | None) -> None:
    """Print a result as text, and write it as JSON if a file is named."""
    print(text)
    if out:
        write_json(out, result)


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean, the sample standard deviation (0 for a single value), and the values.

    Example:
        >>> spread_of([1.0, 3.0])["mean"], round(spread_of([1.0, 3.0])["spread"], 3)
        (2.0, 1.414)
    """
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "spread": spread, "values": list(values)}


def versions(packages: Iterable[str] = OWN_PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of the installed packages."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(threads: int) -> dict[str, Any]:
    """Return the CPU and how much of it was used, without the machine's name."""
    return {"cpu": cpu_model(), "cores": available_cores(), "threads": threads, "system": platform.system()}


def cpu_model() -> str:
    """Return the CPU's name as reported by the system."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mib() -> float:
    """Return the peak memory of this process so far, including imports."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / KIB_PER_MIB**2 if sys.platform == "darwin" else peak / KIB_PER_MIB


def commit() -> dict[str, Any] | None:
    """Return this checkout's commit, and whether files differ from it, not counting files that the scripts write."""
    revision = _git("rev-parse", "HEAD")
    if revision is None:
        return None
    changed = _git("status", "--porcelain", "--", ".", *(f":(exclude,glob){name}" for name in MEASURED_FILES))
    return {"revision": revision, "dirty": bool(changed)}


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def describe_run(result: dict[str, Any]) -> str:
    """Return one line about the machine and versions behind a result."""
    where, code = result["machine"], result["commit"]
    revision = "no commit" if code is None else code["revision"][:10] + (", with changes" if code["dirty"] else "")
    names = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    threads = f"{where['threads']} thread" + ("" if where["threads"] == 1 else "s")
    cores = f"{where['cores']} core" + ("" if where["cores"] == 1 else "s")
    return f"{where['cpu']}, {cores}, {threads}, {where['system']}; {names}; commit {revision}"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, with the first column left-aligned and the others right-aligned.

    Example:
        >>> print(table(["net", "rows/s"], [["mlp", "10"]]))
        | net | rows/s |
        |---|---:|
        | mlp | 10 |
    """
    lines = [_row(headers), "|---|" + "---:|" * (len(headers) - 1), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a result as JSON atomically."""
    write_text(path, json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def last_json(text: str) -> dict[str, Any]:
    """Return the JSON object on the last line of a process's output."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found
