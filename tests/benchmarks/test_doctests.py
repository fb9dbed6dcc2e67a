"""The examples in plug-ins and benchmarks, which pytest's own doctest run does not visit."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [*(ROOT / "datamodules").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]
WITH_EXAMPLES = sorted(path.relative_to(ROOT) for path in FILES if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_examples_run_as_they_stand(path: Path) -> None:
    module = importlib.import_module(".".join(path.with_suffix("").parts))

    tried = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)

    assert tried.attempted > 0
    assert tried.failed == 0
