"""Check and time training and prediction on a GPU in at most eight minutes, or with `--cpu` on a CPU at a smaller scale.

    python benchmarks/on_gpu.py --out benchmarks/results/on_gpu.json
    python benchmarks/on_gpu.py --cpu --only fits,resume

It generates its data and downloads nothing. A failed check is recorded with its message; after all checks, the exit status is
1 if any failed or ran out of time. `PACKAGES` lists the packages it needs, to bring to a machine without a network.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import OWN_PACKAGES, describe_run, make_parser, peak_memory_mib, run_facts, table, write_json

if TYPE_CHECKING:
    from benchmarks.gpu_cases import Site

# the requirement behind each import, as in pyproject.toml
PACKAGES = {
    "cv2": "opencv-python-headless>=4.11.0.86",
    "fsspec": "fsspec>=2023.5.0",
    "huggingface_hub": "huggingface_hub>=0.30",
    "msgspec": "msgspec>=0.19",
    "numpy": "numpy>=2.0.2",
    "onnx": "onnx>=1.17",
    "onnxruntime": "onnxruntime>=1.20",
    "onnxscript": "onnxscript>=0.7.2",
    "pandas": "pandas>=3.0",
    "PIL": "pillow>=11",
    "pyarrow": "pyarrow>=22",
    "pytorch_lightning": "pytorch-lightning>=2.6.6",
    "rtdl_num_embeddings": "rtdl_num_embeddings>=0.0.11",
    "safetensors": "safetensors>=0.5",
    "timm": "timm>=1.0.11",
    "torch": "torch>=2.6",
    "torchmetrics": "torchmetrics>=1.4",
    "torchvision": "torchvision>=0.21",
    "typing_extensions": "typing_extensions>=4.10",
}
# seconds that each check may take, 450 in total; the rest of the eight minutes is for imports and for making the images
SECONDS = {
    "fits": 100,
    "folded": 30,
    "fine_tune": 20,
    "resume": 40,
    "augmentation": 15,
    "predictor": 25,
    "onnx": 60,
    "compiled": 90,
    "speed": 70,
}
BYTES_PER_MIB = 2**20
REPEATED_AFTER = 10.0  # seconds until a case is interrupted again, in case a library caught the first error


def main(words: Sequence[str] | None = None) -> int:
    options = parse(words)
    if absent := missing(PACKAGES):
        quoted = " ".join(f"'{each}'" for each in absent)
        raise SystemExit(f"on_gpu.py: {len(absent)} of its packages are not installed. Run: pip install {quoted}")
    os.environ.setdefault(
        "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
    )  # makes cuBLAS deterministic; read once, when CUDA starts
    import torch

    from benchmarks.gpu_cases import CPU, GPU, Site

    if not options.cpu and not torch.cuda.is_available():
        raise SystemExit("on_gpu.py: torch sees no CUDA device here. Pass --cpu for the same checks in small.")
    device = torch.device("cpu" if options.cpu else "cuda")
    result = run_facts(torch.get_num_threads(), (*OWN_PACKAGES, "torchvision", "timm", "onnxruntime"))
    result["device"] = "cpu" if options.cpu else torch.cuda.get_device_name()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(device, CPU if options.cpu else GPU, Path(folder))
        result["checks"] = {}
        for name in options.only:
            result["checks"][name] = run_check(name, site)
            result["seconds"] = time.perf_counter() - start
            if options.out:  # after each check, in case the machine goes away
                write_json(options.out, result)
    print(to_markdown(result))
    return 1 if failures(result) else 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--cpu", action="store_true", help="run the checks on a CPU, with small data")
    parser.add_argument(
        "--only", type=lambda text: text.split(","), default=list(SECONDS), help="some checks, with commas"
    )
    options = parser.parse_args(words)
    if unknown := [name for name in options.only if name not in SECONDS]:
        parser.error(f"no check named {', '.join(unknown)}; checks are {', '.join(SECONDS)}")
    return options


def missing(packages: Mapping[str, str]) -> list[str]:
    """Return the requirements that are missing or installed in an older version.

    Example:
        >>> missing({"torch": "torch>=2.6", "surely_absent": "surely-absent>=1"})
        ['surely-absent>=1']
    """
    return [needed for name, needed in packages.items() if importlib.util.find_spec(name) is None or _is_older(needed)]


def _is_older(requirement: str) -> bool:
    name, _, least = requirement.partition(">=")
    try:
        return _numbers(version(name)) < _numbers(least)
    except PackageNotFoundError:  # installed under another name, such as opencv-python
        return False


def _numbers(text: str) -> list[int]:
    """Return the numbers in a version.

    Example:
        >>> _numbers("2.11.0+cu130") > _numbers("2.6")
        True
    """
    return [int(number) for number in re.findall(r"\d+", text.partition("+")[0])]


def run_check(name: str, site: Site) -> dict[str, dict[str, Any]]:
    """Return the result of each case in a check, within the check's time; record cases for which none is left."""
    from benchmarks.gpu_checks import CHECKS

    end = time.perf_counter() + SECONDS[name]
    found = {}
    for case, run in CHECKS[name](site).items():
        found[case] = run_case(run, end - time.perf_counter())
        state = found[case].get("error", "ok")
        print(f"{name}: {case}: {state} ({found[case]['seconds']:.1f} s)", file=sys.stderr)
    return found


def run_case(run: Callable[[], Mapping[str, Any]], seconds: float) -> dict[str, Any]:
    """Return one case's facts, or its error message, with its seconds and peak memory.

    Example:
        >>> run_case(lambda: {"loss": 0.5}, 9.0)["loss"], run_case(lambda: {"loss": 0.5}, 0.0)["error"]
        (0.5, 'no time was left for it')
    """
    if seconds <= 0:
        return {"error": "no time was left for it", "seconds": 0.0}
    import torch

    from benchmarks.quiet import unheard

    if _uses_gpu():
        torch.cuda.reset_peak_memory_stats()
    start, facts = time.perf_counter(), {}
    try:
        with unheard(), within(seconds):
            facts = dict(run())
    except Exception as error:  # catch any error, so that the other checks run
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        facts = {"error": f"{type(error).__name__}: {lines[0]}"}
    peak = torch.cuda.max_memory_allocated() / BYTES_PER_MIB if _uses_gpu() else peak_memory_mib()
    return {**facts, "seconds": time.perf_counter() - start, "peak_mib": peak}


def _uses_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch annotates it only in part


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer, if the system has timers."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"it was not done within the {seconds:.0f} seconds left for its check")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEATED_AFTER)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failures(result: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each failed case."""
    return [
        f"{check}: {case}: {facts['error']}"
        for check, cases in result["checks"].items()
        for case, facts in cases.items()
        if "error" in facts
    ]


def to_markdown(result: Mapping[str, Any]) -> str:
    """Return the checks as a table, the failures, and the speeds."""
    rows, speeds = [], []
    for check, cases in result["checks"].items():
        passed = sum("error" not in facts for facts in cases.values())
        seconds, peak = (sum(facts["seconds"] for facts in cases.values()), max(map(_peak, cases.values()), default=0))
        rows.append([check, f"{passed} of {len(cases)}", f"{seconds:.0f}", f"{peak:,.0f}"])
        speeds += [
            [case, f"{facts['raw_per_second']:,.0f}", f"{facts['tabvision_per_second']:,.0f}", f"{facts['ratio']:.2f}"]
            for case, facts in cases.items()
            if "ratio" in facts
        ]
    parts = [table(["check", "cases passed", "seconds", "peak MiB"], rows)]
    if failed := failures(result):
        parts.append("\n".join(f"- {sentence}" for sentence in failed))
    if speeds:
        parts.append(table(["per second, in training", "raw loop", "tabvision", "ratio"], speeds))
    return "\n\n".join([*parts, f"On {result['device']}, {result['seconds']:.0f} s; {describe_run(dict(result))}."])


def _peak(facts: Mapping[str, Any]) -> float:
    return float(facts.get("peak_mib", 0.0))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
