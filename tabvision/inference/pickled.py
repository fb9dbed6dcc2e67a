"""A look at a checkpoint's pickle before torch reads it: what it names, and what reading it would cost.

`weights_only=True` runs no code of the file's. It does make as large an array as a number says, and takes a tuple in a tuple
in a tuple for a key, which ends the process where there are 100,000 of them. Neither is needed for weights and plain data.
"""

from __future__ import annotations

import pickletools
import re
from typing import final

from torch.serialization import get_safe_globals

from tabvision.errors import BadValueError

ASK_FOR_THE_ORIGINAL = "Do not use it; ask for the original checkpoint"
MAX_DEPTH = 100  # tuples in tuples
MAX_LONG = 1_000  # integers beyond 64 bits: a few generators' states. Many more may be keys chosen to share one hash
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|_codecs encode|(builtins|__builtin__) (set|complex)"
    r"|torch (Size|device|\w+Storage|bool|u?int\d+|b?float\d+\w*|complex\d+)|torch\.storage UntypedStorage"
    r"|torch\.serialization _get_layout|torch\._utils _rebuild_(parameter|tensor_v2|tensor_v3|sparse_tensor|qtensor)"
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}


def check_pickle(content: bytes, name: str, who: str) -> None:
    """Refuses a pickle of more than weights and plain data, or one that is costly to read; nothing in it is made.

    Raises:
        BadValueError: One of these, or no pickle at all.
    """
    read = _Depths()
    try:
        for operator, argument, _ in pickletools.genops(content):
            _check_name(operator, argument, name, who)
            read.step(operator, argument)
            if problem := read.problem():
                raise BadValueError(who, f"{name} {problem}", ASK_FOR_THE_ORIGINAL)  # noqa: TRY301 - handed on below
    except BadValueError:
        raise
    except Exception as error:  # whatever the damaged bytes lead to
        problem = f"{name} is damaged or no checkpoint ({type(error).__name__})"
        raise BadValueError(who, problem, "Copy the file again, or pass another one") from error


def _check_name(operator: pickletools.OpcodeInfo, argument: object, name: str, who: str) -> None:
    if operator.name == "GLOBAL" and not is_plain(str(argument)):
        problem = (
            f"{name} holds more than plain data, or is no checkpoint, and was not opened: it names {argument!s:.80}"
        )
        raise BadValueError(who, problem, "Save it again with tabvision, or pass another file")


@final
class _Depths:
    """The stack of a pickle, with how deep tuples lie in tuples in place of the values; 0 for all else."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []
        self.memo: dict[int, int] = {}
        self.num_long = 0

    def problem(self) -> str | None:
        """What is wrong so far."""
        if self.num_long > MAX_LONG:
            return "holds a great many integers of more than 64 bits"
        return "nests tuples without end" if self.stack and self.stack[-1] > MAX_DEPTH else None

    def step(self, operator: pickletools.OpcodeInfo, argument: object) -> None:
        """Takes one step."""
        name = operator.name
        if name == "LONG1" and isinstance(argument, int) and argument.bit_length() > 64:
            self.num_long += 1
        if name in _PUTS and isinstance(argument, int):
            self.memo[argument] = self.stack[-1]
        elif name in _GETS and isinstance(argument, int):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name in _TUPLES:
            self._pack(len(self.stack) - _TUPLES[name])
        elif name == "TUPLE":
            self._pack(self.marks.pop())
        else:
            self._other(operator)

    def _pack(self, start: int) -> None:
        """Everything from that place on becomes one tuple."""
        if start < 0:
            raise IndexError("the stack is empty")
        self.stack[start:] = [1 + max(self.stack[start:], default=0)]

    def _other(self, operator: pickletools.OpcodeInfo) -> None:
        """What an operator takes and gives, by Python's own table; what else makes a tuple torch does not read."""
        taken, given = operator.stack_before, len(operator.stack_after)
        if pickletools.stackslice in taken:
            before = taken.index(pickletools.markobject)
            del self.stack[self.marks.pop() :]
        else:
            before = len(taken)
        if before > len(self.stack):
            raise IndexError("the stack is empty")
        del self.stack[len(self.stack) - before :]
        self.stack += [0] * given


def is_plain(named: str) -> bool:
    """Whether a name in a pickle makes plain data, weights, or what the user declared to torch as safe.

    Example:
        >>> is_plain("collections OrderedDict"), is_plain("os system"), is_plain("builtins bytearray")
        (True, False, False)
    """
    return _NAMES.fullmatch(named) is not None or named in _declared_safe()


def _declared_safe() -> set[str]:
    paths = (
        each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}" for each in get_safe_globals()
    )
    return {" ".join(path.rpartition(".")[::2]) for path in paths}
