"""Outside `tasks/` no code asks which kind of task it has: it asks the task."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tabvision import tasks
from tabvision.tasks.registry import KINDS

LIBRARY = Path(tasks.__file__).parents[1]
CLASSES = {kind.__name__ for kind in KINDS}
NAMES = {kind.name for kind in KINDS}


def test_no_file_outside_tasks_asks_for_a_kind_of_task() -> None:
    files = [path for path in LIBRARY.rglob("*.py") if path.relative_to(LIBRARY).parts[0] != "tasks"]

    assert len(files) > 100, "the walk found no library"
    assert not [
        f"{path.relative_to(LIBRARY)}, line {line}: {what}"
        for path in files
        for line, what in kinds_asked(path.read_text())
    ]


def kinds_asked(source: str) -> Iterator[tuple[int, str]]:
    """Where a kind of task is named, or a task's name is compared with something."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[:2] == ["tabvision", "tasks"]:
                yield from ((node.lineno, alias.name) for alias in names if alias.name in CLASSES)
            case ast.Attribute(value=ast.Name("tasks"), attr=attr) if attr in CLASSES:
                yield node.lineno, attr
            case ast.Compare():
                words = {each.value for each in ast.walk(node) if isinstance(each, ast.Constant)}
                if "task.name" in ast.unparse(node) or ("task" in ast.unparse(node) and words & NAMES):
                    yield node.lineno, ast.unparse(node)
            case ast.Match(subject=subject) if ast.unparse(subject).endswith(("task", "task.name")):
                yield node.lineno, ast.unparse(subject)


@pytest.mark.parametrize(
    "source",
    [
        "from tabvision.tasks import Binary, Task",
        "from tabvision.tasks.points import Points as Asked",
        "from tabvision import tasks\nisinstance(task, tasks.Regression)",
        "type(task) is tasks.Multilabel",
        "module.task.name == 'binary'",
        "task == 'points'",
        "task in ('binary', 'multiclass')",
        "match schema.task:\n    case _: pass",
    ],
)
def test_the_guard_sees_each_way_to_ask(source: str) -> None:
    assert list(kinds_asked(source))
