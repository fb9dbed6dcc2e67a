"""Imports point downwards, third parties come in through their doors, and importing the library stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = "tabvision"

# A part imports parts of lower ranks only. Folders of one rank never meet.
RANKS = (
    {"batch", "errors", "lazy"},
    # notes; plain data to dataclasses; metrics of tasks; random generators; whether a graph is recorded; old schemas
    {
        "logs",
        "plain",
        "checks",
        "lightning",
        "metrics",
        "random_state",
        "tracing",
        "counter_random",
        "schema_formats",
        "schema_text",
    },
    {"schema", "tasks", "schedules"},
    {"preprocess", "nets", "augment", "scratch"},
    {"data", "modules"},
    {"callbacks", "tuning", "inference"},
    {"interpret"},
    {"plots"},
    {"report"},
    {"serving", "sklearn", "hub"},
    {"cli"},
    {"__main__"},
)
RANK_OF = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
# (who, what): a schema holds its target's task, and its text knows its type; a cross-validation ends with results
SAME_RANK = {("schema", "tasks"), ("schema_text", "schema"), ("tuning", "inference")}

LIGHTNING_DOOR = ("lightning",)
LIGHTNING_PARTS = ("data", "modules", "callbacks", "tuning", "inference", "sklearn", "cli")
# What may import a third party, as prefixes below tabvision; an empty tuple means nowhere.
DOORS: dict[str, tuple[str, ...]] = {
    "timm": ("nets.backbones",),
    "torchvision.models": ("nets.backbones",),
    "pytorch_lightning": LIGHTNING_DOOR,
    "lightning_fabric": LIGHTNING_DOOR,
    "lightning_utilities": LIGHTNING_DOOR,
    "lightning": LIGHTNING_DOOR,
    "tabvision.lightning": LIGHTNING_PARTS,
    "matplotlib": ("plots",),
    "jinja2": ("report", "serving.page"),
    "onnx": ("inference.exporting",),
    "onnxruntime": ("inference.onnx_predictor", "inference.exporting"),
    "starlette": ("serving",),
    "uvicorn": ("serving",),
    "fastapi": (),  # serving checks requests against the schema itself
    "sklearn": ("sklearn", "data.demo"),  # estimators; the digits of a demo
    "huggingface_hub": ("nets.backbones", "inference.files", "hub"),
    "fastai": (),
    # the library's users, never its parts
    "datamodules": (),
    "models": (),
    "benchmarks": (),
    "tests": (),
}
WITHOUT_TORCH = ("batch", "errors", "plain", "schema", "schema_formats", "schema_text", "preprocess", "scratch")
TORCH_WHEN_CALLED = ("tasks",)  # torch inside functions, not at the top


When = Literal["import", "call", "typing"]


@dataclass(frozen=True)
class Import:
    """One imported name: `from a import b` imports `a.b`; at import, when called, or for the type checker only."""

    name: str
    line: int
    when: When

    def is_of(self, package: str) -> bool:
        return self.name == package or self.name.startswith(f"{package}.")


def test_imports_point_downwards_through_their_doors() -> None:
    sources = library_sources()

    assert len(sources) > 5, "the walk found no library"
    assert not find_problems(sources)


def library_sources() -> dict[str, str]:
    """The source of every module of the library, by dotted name; a package is named with `.__init__`."""
    paths = sorted((ROOT / LIBRARY).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text(encoding="utf-8") for path in paths}


def find_problems(sources: Mapping[str, str]) -> list[str]:
    """What breaks the rules above, a sentence each."""
    found = []
    for module, source in sources.items():
        inside = module.removeprefix(f"{LIBRARY}.")
        for item in find_imports(source, module):
            found += [f"{module}, line {item.line}: {problem}" for problem in judge(inside, item)]
    return found


def judge(inside: str, item: Import) -> Iterator[str]:
    """What is wrong with one import; `inside` is the importing module's name below tabvision."""
    part = inside.split(".", maxsplit=1)[0]
    if item.is_of(LIBRARY):
        yield from judge_direction(part, item)
    if item.when == "typing":
        return
    for package, doors in DOORS.items():
        if item.is_of(package) and not any(inside == door or inside.startswith(f"{door}.") for door in doors):
            yield f"{item.name} is imported outside its door ({', '.join(doors) or 'no part of the library'})"
    if item.name == "torchvision":
        yield "a bare `import torchvision` opens torchvision.models as well; import the part that is used"
    if item.is_of("torch") and (part in WITHOUT_TORCH or (part in TORCH_WHEN_CALLED and item.when == "import")):
        yield f"{part} must load without torch"


def judge_direction(part: str, item: Import) -> Iterator[str]:
    target = item.name.split(".")[1] if "." in item.name else "__init__"
    if target in {part, "__init__", "__version__"}:
        return
    if part == "__init__":
        if item.when != "typing":
            yield f"tabvision itself imports nothing, not even {item.name}"
    elif unknown := {part, target} - set(RANK_OF):
        yield f"{sorted(unknown)} has no rank; give it one in tests/test_architecture.py and HOUSE order"
    elif RANK_OF[target] >= RANK_OF[part] and (part, target) not in SAME_RANK:
        yield f"{part} must not import {target}, which is not below it"


def find_imports(source: str, module: str) -> list[Import]:
    """Every import in a module's source, relative ones resolved, `import_module("name")` included."""
    return list(_walk(ast.parse(source), module, "import"))


def _walk(node: ast.AST, module: str, when: When) -> Iterator[Import]:
    if isinstance(node, ast.stmt | ast.expr):
        yield from (Import(name, node.lineno, when) for name in _imported(node, module))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, module, _when(node, child, when))


def _imported(node: ast.stmt | ast.expr, module: str) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(names=names):
            origin = _resolve(node, module)
            return [f"{origin}.{alias.name}" for alias in names]
        case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if _is_import_call(function):
            return [name]
    return []


def _when(parent: ast.AST, child: ast.AST, when: When) -> When:
    if isinstance(parent, ast.If) and child in parent.body and _is_typing(parent.test):
        return "typing"
    if when == "import" and isinstance(parent, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return "call"
    return when


def _is_typing(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _resolve(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    above = module.split(".")[: -node.level]  # a package's own module is named `….__init__`
    return ".".join([*above, node.module] if node.module else above)


def _is_import_call(function: ast.expr) -> bool:
    return ast.unparse(function) in {"__import__", "import_module", "importlib.import_module"}


# Each guard, proved by breaking it.


BROKEN = [
    ("nets.mlp", "from tabvision.modules import TabularModule", "nets must not import modules"),
    ("nets.mlp", "from tabvision import modules", "nets must not import modules"),
    ("nets.mlp", "from ..modules import TabularModule", "nets must not import modules"),
    ("nets.__init__", "from ..modules import TabularModule", "nets must not import modules"),
    ("nets.mlp", "import tabvision.modules.tabular", "nets must not import modules"),
    ("data.tabular", "def f():\n    from tabvision.modules import x", "data must not import modules"),
    ("data.tabular", "if TYPE_CHECKING:\n    from tabvision.modules import x", "data must not import modules"),
    ("modules.tabular", "from tabvision.data import x", "modules must not import data"),
    ("tasks", "from tabvision.schema import Schema", "tasks must not import schema"),
    ("errors", "from tabvision.batch import Batch", "errors must not import batch"),
    ("__init__", "from tabvision.schema import Schema", "tabvision itself imports nothing"),
    ("novelty", "from tabvision.errors import x", "'novelty'] has no rank"),
    ("data.x", "from tabvision.novelty import x", "'novelty'] has no rank"),
    ("nets.heads", "from torchvision.models import resnet18", "outside its door"),
    ("nets.heads", "from torchvision import models", "outside its door"),
    ("nets.heads", "import torchvision", "opens torchvision.models"),
    ("nets.heads", "import timm", "outside its door"),
    ("callbacks.one_cycle", "import pytorch_lightning as pl", "outside its door"),
    ("callbacks.one_cycle", "from lightning_utilities.core.rank_zero import rank_zero_info", "outside its door"),
    ("nets.heads", "from tabvision import lightning as pl", "outside its door"),
    ("nets.heads", "from tabvision.lightning import Callback", "outside its door"),
    ("data.x", "from lightning.pytorch import Trainer", "outside its door"),
    ("interpret.confusion", "import matplotlib.pyplot as plt", "outside its door"),
    ("plots.curves", "import jinja2", "outside its door"),
    ("data.splits", "def f():\n    from sklearn.model_selection import train_test_split", "outside its door"),
    ("data.splits", "try:\n    import fastai\nexcept ImportError:\n    pass", "outside its door"),
    ("cli.demo", "from datamodules.flights import FlightsDataModule", "no part of the library"),
    ("cli.demo", 'importlib.import_module("benchmarks.raw")', "no part of the library"),
    ("schema", "import torch", "schema must load without torch"),
    ("preprocess.fill", "def f():\n    import torch", "preprocess must load without torch"),
    ("tasks", "from torch import Tensor", "tasks must load without torch"),
    ("tasks", "if not TYPE_CHECKING:\n    import torch", "tasks must load without torch"),
    ("tasks", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "tasks must load without torch"),
]


def test_a_broken_rule_is_found(subtests: pytest.Subtests) -> None:
    for module, source, problem in BROKEN:
        with subtests.test(f"{module}: {source}"):
            (found,) = find_problems({f"tabvision.{module}": source})
            assert problem in found


ALLOWED = [
    ("schema", "from tabvision.tasks import Task"),
    ("schema", "if TYPE_CHECKING:\n    import torch"),
    ("schema", "if typing.TYPE_CHECKING:\n    from torch import Tensor"),
    ("tasks", "def loss():\n    import torch"),
    ("tasks", "import torchmetrics"),  # a longer name is another package
    ("data.tabular", "from tabvision.data.splits.base import Random\nfrom .loaders import Loader"),
    ("data.images", "from torchvision.io import decode_image"),
    ("nets.backbones", "import timm\nfrom torchvision.models import resnet18"),
    ("nets.heads", "if TYPE_CHECKING:\n    from pytorch_lightning import Trainer"),
    ("callbacks.one_cycle", "from tabvision import lightning as pl\nfrom tabvision.modules import SupervisedModule"),
    ("report.page", "import jinja2\nfrom tabvision.plots import curves"),
    ("cli.__init__", "from tabvision import __version__\nfrom tabvision.data import x"),
]


def test_what_is_allowed_passes(subtests: pytest.Subtests) -> None:
    for module, source in ALLOWED:
        with subtests.test(f"{module}: {source}"):
            assert not find_problems({f"tabvision.{module}": source})


# What is loaded, seen from a fresh interpreter.

HEAVY = ("torch", "pandas", "pytorch_lightning", "pyarrow")


FORGET = "[sys.modules.pop(name) for name in [*sys.modules] if name.startswith('tabvision.augment')]"
LIGHT = (  # in one process, in this order: what a later line leaves out has not been loaded by an earlier one
    ("import tabvision", HEAVY),
    ("import tabvision.schema, tabvision.tasks", ("torch", "pandas", "pytorch_lightning")),
    ("from tabvision import schema", ("torch", "pandas", "pytorch_lightning")),
    ("import tabvision.preprocess", ("torch", "pytorch_lightning")),
    ("import tabvision.data.tables.read, tabvision.data.tables.write", ("torch", "pytorch_lightning")),
    ("from tabvision.inference import OnnxPredictor", ("torch", "pytorch_lightning")),
    (
        "from tabvision.inference import Predictor",
        ("pytorch_lightning", "torchmetrics", "torch._dynamo", "cv2", "timm"),
    ),
    (
        f"{FORGET}; from tabvision import TabularModule; import tabvision.modules; from tabvision.callbacks import OneCycle",
        ("cv2", "timm", "tabvision.nets.backbones", "tabvision.augment", "tabvision.callbacks.mixing"),
    ),
)


@pytest.mark.slow
def test_importing_a_light_part_loads_nothing_heavy() -> None:
    checks = [f"{line}; assert not set(sys.modules) & {set(absent)}, {line!r}" for line, absent in LIGHT]

    assert "torch" in loaded_by("-c", "\n".join(["import sys", *checks]))


def test_help_answers_without_loading_anything_heavy() -> None:
    assert not loaded_by("-m", "tabvision", "--help").intersection(HEAVY)


STARTED = """
import io, os, sys

class Stopped(io.StringIO):
    def write(self, text):
        os._exit(0)

sys.stdout = Stopped()
from tabvision.cli import main
main(["train", "people.csv", "--target", "paid"])
sys.exit("nothing was printed")
"""


def test_a_training_says_that_it_has_begun_before_anything_heavy_is_loaded() -> None:
    assert not loaded_by("-c", STARTED).intersection(HEAVY)


def loaded_by(*arguments: str) -> set[str]:
    """The modules that a fresh Python loads while it runs with these arguments."""
    command = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    times = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if line not in times)
    return {line.rpartition("|")[2].strip() for line in times}
