"""Tasks by name."""

from __future__ import annotations

from tabvision.errors import UnknownNameError, speaking
from tabvision.tasks.binary import Binary
from tabvision.tasks.multiclass import Multiclass
from tabvision.tasks.multilabel import Multilabel
from tabvision.tasks.points import Points
from tabvision.tasks.regression import Regression

KINDS = (Binary, Multiclass, Multilabel, Regression, Points)


@speaking("Task")
def task_named(name: object) -> Binary | Multiclass | Multilabel | Regression | Points:
    """A fresh task of that name: binary, multiclass, multilabel, regression or points.

    Example:
        >>> task_named("binary")
        Binary(threshold=0.5, label_smoothing=0.0, class_weights=None, focal_gamma=0.0)
    """
    for task in KINDS:
        if task.name == name:
            return task()
    raise UnknownNameError("task", name, [task.name for task in KINDS])
