"""A bound on the memory that building a network may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, final

from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

FACTOR = 16  # what initializing a network makes on the way (orthogonal rows, copies), in multiples of its weights
SPARE_ELEMENTS = 1 << 22


@final
class BudgetExceededError(RuntimeError):
    """More was asked for than the budget holds."""


@final
class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its hook untyped
    """Within it, tensors that are made may hold so many elements in all; the one too many is not made.

    Settings are a few bytes and may ask for any width; weights in a file are as large as they are. A network built to take
    those weights needs no more than a small multiple of them.

    Args:
        elements: Of the weights that the network is for.

    Example:
        >>> import torch
        >>> with Budget(10):
        ...     torch.empty(10**12)
        Traceback (most recent call last):
        tabvision.inference.budget.BudgetExceededError: ...
    """

    def __init__(self, elements: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = FACTOR * elements + SPARE_ELEMENTS

    @override
    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.left -= _asked(func, args)
        if self.left < 0:
            raise BudgetExceededError(f"{func} asks for more elements than the weights account for")
        made: Callable[..., Any] = func
        return made(*args, **(kwargs or {}))


def _asked(func: Any, args: tuple[Any, ...]) -> int:  # noqa: ANN401 - an operator of torch
    """Elements of the tensor that an operator is asked to make; 0 for one that is not told a size."""
    sizes = [value for argument, value in zip(func._schema.arguments, args, strict=False) if argument.name == "size"]  # noqa: SLF001
    return sum(math.prod(size) for size in sizes if all(isinstance(side, int) for side in size))
