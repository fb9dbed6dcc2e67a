"""Checks of a checkpoint's zip archive and of the plain data in it, before anything large is made of either.

torch writes archives whose entries are stored, not compressed. So an honest one holds no more than its own length, and
one that would expand is told by its directory alone.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import Tensor
from torch.serialization import get_safe_globals
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from tabvision.errors import BadValueError, TabvisionError

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 100
PICKLE = "data.pkl"
ASK_FOR_THE_ORIGINAL = "Do not use it; ask for the original checkpoint"
PASS_ANOTHER = "Copy the file again, or pass another one"


def plain_archive(content: bytes, name: str) -> io.BytesIO:
    """The archive, written anew with what was checked and nothing else.

    torch reads archives with a library of its own, which does not look at checksums and may see other entries than Python
    does where an archive was made for that. It gets this copy, in which both see the same.

    Raises:
        BadValueError: Empty, no archive, damaged, one that would expand to more than the file holds, or one whose pickle
            holds more than plain data.
    """
    if not content:
        raise BadValueError(f"{name} is empty (0 bytes)", PASS_ANOTHER)
    if not content.startswith(b"PK"):
        raise BadValueError(f"{name} is damaged or no checkpoint (no zip archive)", PASS_ANOTHER)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_entries(archive.infolist(), content, name)
            return _copied(archive, name)
    except TabvisionError:
        raise
    except Exception as error:  # zipfile raises whatever the damaged bytes lead to
        reason = str(error) if "Bad CRC" in str(error) else type(error).__name__
        problem = f"{name} is damaged or no checkpoint ({reason})"
        raise BadValueError(problem, PASS_ANOTHER) from error


def _copied(archive: zipfile.ZipFile, name: str) -> io.BytesIO:
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as written:
        for entry in archive.infolist():
            data = archive.read(entry)  # compares the checksum
            if entry.filename.lower().endswith(PICKLE):
                _check_pickle(data, name)
            written.writestr(entry.filename, data)
    copy.seek(0)
    return copy


def _check_entries(entries: Sequence[zipfile.ZipInfo], content: bytes, name: str) -> None:
    stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
    if not stored or len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > len(content):
        problem = f"{name} would expand to more than its {len(content):,} bytes, as no Trainer writes it"
        raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
    names = {entry.filename.lower() for entry in entries}  # torch's library does not tell upper from lower case
    if len(names) < len(entries):
        raise BadValueError(f"{name} holds one entry twice, as no Trainer writes it", ASK_FOR_THE_ORIGINAL)


def check_plain(data: object, budget: int, name: str) -> None:
    """Refuses plain data that is deeper or larger, written out, than a file of that many bytes can honestly hold.

    Lists that hold the same list many times, and those many times again, take a few bytes and never end.

    Raises:
        BadValueError: Too deep, too large, or a tensor that is larger than the file.
    """
    waiting, seen = [(data, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            items = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            items = list(value)
        else:
            if isinstance(value, Tensor) and value.numel() * value.element_size() > budget:
                problem = f"{name} holds a tensor of shape {tuple(value.shape)}, more than the file has bytes"
                raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
            continue
        seen += len(items)
        if depth > MAX_DEPTH or seen > budget:
            problem = f"the facts in {name} are nested deeper or hold more than the file itself"
            raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
        waiting += [(item, depth + 1) for item in items if not isinstance(item, str | int | float)]


MAX_TUPLE_DEPTH = 100  # tuples in tuples
MAX_LONG = 1_000  # integers beyond 64 bits: a few generators' states. Many more may be keys chosen to share one hash
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|_codecs encode|(builtins|__builtin__) (set|complex)"
    r"|torch (Size|device|\w+Storage|bool|u?int\d+|b?float\d+\w*|complex\d+)|torch\.storage UntypedStorage"
    r"|torch\.serialization _get_layout|torch\._utils _rebuild_(parameter|tensor_v2|tensor_v3|sparse_tensor|qtensor)"
)
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}


def _check_pickle(content: bytes, name: str) -> None:
    """Refuses a pickle of more than weights and plain data, or one that is costly to read; nothing in it is made.

    Raises:
        BadValueError: One of these, or no pickle at all.
    """
    read = _Depths()
    try:
        for operator, argument, _ in pickletools.genops(content):
            _check_name(operator, argument, name)
            read.step(operator, argument)
            if problem := read.problem():
                raise BadValueError(f"{name} {problem}", ASK_FOR_THE_ORIGINAL)  # noqa: TRY301 - handed on below
    except BadValueError:
        raise
    except Exception as error:  # whatever the damaged bytes lead to
        problem = f"{name} is damaged or no checkpoint ({type(error).__name__})"
        raise BadValueError(problem, PASS_ANOTHER) from error


def _check_name(operator: pickletools.OpcodeInfo, argument: object, name: str) -> None:
    if operator.name == "GLOBAL" and not is_plain(str(argument)):
        problem = (
            f"{name} holds more than plain data, or is no checkpoint, and was not opened: it names {argument!s:.80}"
        )
        raise BadValueError(problem, "Save it again with tabvision, or pass another file")


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
        return "nests tuples without end" if self.stack and self.stack[-1] > MAX_TUPLE_DEPTH else None

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
    if _NAMES.fullmatch(named):
        return True
    declared = (
        each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}" for each in get_safe_globals()
    )
    return named in {" ".join(path.rpartition(".")[::2]) for path in declared}


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
        tabvision.inference.untrusted.BudgetExceededError: ...
    """

    def __init__(self, elements: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = FACTOR * elements + SPARE_ELEMENTS

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
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
