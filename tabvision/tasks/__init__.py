"""What a target asks of a network: loss, activation, decoding and metrics of each kind of target, in one place each.

A task is a frozen dataclass of plain facts. `fit` fills in those that come from the training target (how many classes, the
mean and spread of a number), so a user may write `Multiclass()` and let the data decide. Losses are per row and reduced
last, so that row weights, mixed-up rows and the rows with the top losses need no special case.

torch is imported where it is used, never at the top: a checkpoint's or an ONNX file's facts are read without it.
"""

from tabvision.tasks.base import Target, Task
from tabvision.tasks.binary import Binary
from tabvision.tasks.multiclass import Multiclass
from tabvision.tasks.multilabel import Multilabel
from tabvision.tasks.points import Points
from tabvision.tasks.registry import own_task, task_named
from tabvision.tasks.regression import Regression

__all__ = ["Binary", "Multiclass", "Multilabel", "Points", "Regression", "Target", "Task", "own_task", "task_named"]
