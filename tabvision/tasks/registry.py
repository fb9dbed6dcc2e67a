"""Find tasks by name, and open files that name a custom task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tabvision.errors import BadTypeError, BadValueError, UnknownNameError, speaking
from tabvision.tasks.base import Task
from tabvision.tasks.binary import Binary
from tabvision.tasks.multiclass import Multiclass
from tabvision.tasks.multilabel import Multilabel
from tabvision.tasks.points import Points
from tabvision.tasks.regression import Regression

KINDS: tuple[type[Task], ...] = (Binary, Multilabel, Regression, Multiclass, Points)  # in the order of inference


@dataclass
class _Given:
    kind: type[Task]
    used: bool = False


_given: ContextVar[_Given | None] = ContextVar("own_task", default=None)


@speaking("Task")
def task_named(name: object) -> Task:
    """Return a new task by name: binary, multiclass, multilabel, regression or points; a task is returned unchanged.

    Raises:
        UnknownNameError: No task has that name.

    Example:
        >>> task = task_named("binary")
        >>> task, task_named(task) is task
        (Binary(threshold=0.5, label_smoothing=0.0, class_weights=None, focal_gamma=0.0), True)
    """
    if isinstance(name, Task):
        return name
    for kind in KINDS:
        if kind.name == name:
            return kind()
    raise UnknownNameError("task", name, [kind.name for kind in KINDS])


def is_own(task: Task) -> bool:
    """Return whether a task is a custom one, whose name and facts, but not code, are stored in files."""
    return type(task) not in KINDS


@contextmanager
def own_task(task: Task | type[Task] | None, *, required: bool = True) -> Iterator[None]:
    """Open files inside the block with a custom task; a file never says which code to import.

    Args:
        task: The class, or any instance of it, since facts come from the file. None for the built-in tasks.
        required: Whether to raise if no file opened inside names a custom task.

    Raises:
        BadTypeError: `task` is not a task.
        BadValueError: No file names a custom task.
    """
    if task is None:
        yield
        return
    kind = task if isinstance(task, type) else type(task)
    if not issubclass(kind, Task):
        raise BadTypeError(f"task must be a custom Task, got {task!r}", "Pass the class it was trained with")
    given = _Given(kind)
    token = _given.set(given)
    try:
        yield
    finally:
        _given.reset(token)
    if required and not given.used:
        raise BadValueError("the file's task is built in, so task= has no effect", "Leave task out")


def kind_of(data: Mapping[str, Any]) -> type[Task]:
    """Return the class of the task that plain data names.

    Raises:
        UnknownNameError: No task has that name.
        BadValueError: The data names a custom task, and `own_task` was given none or another one.
    """
    name = data.get("name")
    if data.get("own") is not True:
        return type(task_named(name))
    given = _given.get()
    if given is None:
        problem = f"the task {name!r} is a custom one, whose code no file holds"
        raise BadValueError(problem, "Pass its class again: task=..., as in Predictor(path, task=MyTask)")
    if given.kind.name != name:
        problem = f"the file's task is {name!r}, got {given.kind.name!r}"
        raise BadValueError(problem, "Pass the class it was trained with")
    given.used = True
    return given.kind
