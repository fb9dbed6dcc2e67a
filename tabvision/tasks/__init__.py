"""Kinds of target, one per file: how a target is read, what the network outputs for it, and how predictions are decoded.

A task is a frozen dataclass of plain facts. `fit` fills in those that come from the training target (the number of classes,
the mean and standard deviation of a number), so a user may write `Multiclass()` and let the data decide. Losses are per row
and averaged last, so that row weights, mixup and top losses need no special case.

torch and pandas are imported inside functions, never at the top: reading the facts of a checkpoint needs neither.
"""

from tabvision.tasks.base import Task
from tabvision.tasks.binary import Binary
from tabvision.tasks.multiclass import Multiclass
from tabvision.tasks.multilabel import Multilabel
from tabvision.tasks.points import Points
from tabvision.tasks.registry import own_task, task_named
from tabvision.tasks.regression import Regression
from tabvision.tasks.target import Target

__all__ = ["Binary", "Multiclass", "Multilabel", "Points", "Regression", "Target", "Task", "own_task", "task_named"]
