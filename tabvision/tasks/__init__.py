"""Kinds of target, in one file each: how a target is read, what it asks of a network, and how answers are told.

A task is a frozen dataclass of plain facts. `fit` fills in those that come from the training target (how many classes, the
mean and standard deviation of a number), so a user may write `Multiclass()` and let the data decide. Losses are per row and
reduced last, so that row weights, mixed-up rows and the rows with the top losses need no special case.

torch and pandas are imported where they are used, never at the top: facts of a checkpoint are read without them.
"""

from tabvision.tasks.base import Target, Task
from tabvision.tasks.binary import Binary
from tabvision.tasks.multiclass import Multiclass
from tabvision.tasks.multilabel import Multilabel
from tabvision.tasks.points import Points
from tabvision.tasks.registry import own_task, task_named
from tabvision.tasks.regression import Regression

__all__ = ["Binary", "Multiclass", "Multilabel", "Points", "Regression", "Target", "Task", "own_task", "task_named"]
