"""Check a checkpoint's zip archive and the plain data in it before allocating anything large.

torch stores archive entries uncompressed, so a valid archive holds no more than its own length, and one that would expand
can be recognized by its directory.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, final

from torch import Tensor
from torch.serialization import get_safe_globals
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from tabvision.errors import BadValueError, TabvisionError

_MAX_ENTRIES = 1_000_000
_MAX_DEPTH = 100
_PICKLE = "data.pkl"
ASK_FOR_THE_ORIGINAL = "Do not use it; ask for the original checkpoint"
_PASS_ANOTHER = "Copy the file again, or pass another one"
_MAX_TUPLE_DEPTH = 100  # levels of nested tuples
# the most integers beyond 64 bits: enough for random states, while many more may be keys crafted to collide in a hash
_MAX_LONG = 1_000
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|_codecs encode|(builtins|__builtin__) (set|complex)"
    r"|torch (Size|device|\w+Storage|bool|u?int\d+|b?float\d+\w*|complex\d+)|torch\.storage UntypedStorage"
    r"|torch\.serialization _get_layout|torch\._utils _rebuild_(parameter|tensor_v2|tensor_v3|sparse_tensor|qtensor)"
)
_TUPLES = {"EMPTY_TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "TUPLE"}  # torch supports no other operators for tuples
_PUTS, _GETS = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
_FACTOR = 16  # elements per weight, since initializing a network needs temporary ones (orthogonal rows, copies)
_SPARE_ELEMENTS = 1 << 22


def plain_archive(content: bytes, name: str) -> io.BytesIO:
    """Return a copy of the archive with only the checked entries.

    torch reads archives with its own library, which ignores checksums and, in a crafted archive, may see other entries than
    Python does. In this copy both see the same.

    Raises:
        BadValueError: The content is empty, not an archive, or damaged, would expand to more than the file holds, or has a
            pickle with more than plain data.
    """
    if not content:
        raise BadValueError(f"{name} is empty (0 bytes)", _PASS_ANOTHER)
    if not content.startswith(b"PK"):
        raise BadValueError(f"{name} is damaged or not a checkpoint (no zip archive)", _PASS_ANOTHER)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _checked_copy(archive, len(content), name)
    except TabvisionError:
        raise
    except Exception as error:  # zipfile may raise any class for damaged bytes
        reason = str(error) if "Bad CRC" in str(error) else type(error).__name__
        raise BadValueError(f"{name} is damaged or not a checkpoint ({reason})", _PASS_ANOTHER) from error


def _checked_copy(archive: zipfile.ZipFile, num_bytes: int, name: str) -> io.BytesIO:
    entries = archive.infolist()
    stored = all(entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1 for entry in entries)
    if not stored or len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > num_bytes:
        problem = f"{name} would expand to more than its {num_bytes:,} bytes, unlike what a Trainer writes"
        raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
    names = {entry.filename.lower() for entry in entries}  # torch's library ignores case
    if len(names) < len(entries):
        raise BadValueError(f"{name} holds an entry twice, unlike what a Trainer writes", ASK_FOR_THE_ORIGINAL)
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as written:
        for entry in entries:
            data = archive.read(entry)  # verifies the checksum
            if entry.filename.lower().endswith(_PICKLE):
                _check_pickle(data, name)
            written.writestr(entry.filename, data)
    copy.seek(0)
    return copy


def check_plain(data: object, budget: int, name: str) -> None:
    """Raise if plain data, written out in full, is deeper or larger than a file of that many bytes can hold.

    Nested lists that repeat the same list many times take a few bytes and expand without limit.
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
                problem = f"{name} holds a tensor of shape {tuple(value.shape)}, which is larger than the file"
                raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
            continue
        seen += len(items)
        if depth > _MAX_DEPTH or seen > budget:
            problem = f"the data in {name} is nested too deeply, or is larger than the file when written out"
            raise BadValueError(problem, ASK_FOR_THE_ORIGINAL)
        waiting += [(item, depth + 1) for item in items if not isinstance(item, str | int | float)]


def _check_pickle(content: bytes, name: str) -> None:
    """Raise if a pickle holds more than weights and plain data, or is expensive to read, without building any object."""
    read = _Depths()
    try:
        for operator, argument, _ in pickletools.genops(content):
            if operator.name == "GLOBAL" and not _is_plain(str(argument)):
                problem = f"{name} holds more than plain data, or is not a checkpoint, and was not opened"
                remedy = "Save it again with tabvision, or pass another file"
                raise BadValueError(f"{problem}: it names {argument!s:.80}", remedy)  # noqa: TRY301 - re-raised below
            read.step(operator, argument)
            if wrong := read.problem():
                raise BadValueError(f"{name} {wrong}", ASK_FOR_THE_ORIGINAL)  # noqa: TRY301 - re-raised below
    except BadValueError:
        raise
    except Exception as error:  # pickletools may raise any class for damaged bytes
        raise BadValueError(f"{name} is damaged or not a checkpoint ({type(error).__name__})", _PASS_ANOTHER) from error


@final
class _Depths:
    """The stack of a pickle, with the nesting depth of each tuple instead of its value, and 0 for anything else."""

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []
        self.memo: dict[int, int] = {}
        self.num_long = 0

    def problem(self) -> str | None:
        """Return what is wrong so far, or None."""
        if self.num_long > _MAX_LONG:
            return f"holds more than {_MAX_LONG:,} integers of more than 64 bits"
        return (
            f"nests tuples more than {_MAX_TUPLE_DEPTH} deep"
            if self.stack and self.stack[-1] > _MAX_TUPLE_DEPTH
            else None
        )

    def step(self, operator: pickletools.OpcodeInfo, argument: object) -> None:
        """Apply one operator to the stack, using Python's own table of what each pops and pushes."""
        name, taken = operator.name, operator.stack_before
        if name == "LONG1" and isinstance(argument, int) and argument.bit_length() > 64:
            self.num_long += 1
        if name in _PUTS and isinstance(argument, int):
            self.memo[argument] = self.stack[-1]
        elif name in _GETS and isinstance(argument, int):
            self.stack.append(self.memo[argument])
        elif name == "MARK":
            self.marks.append(len(self.stack))
        else:
            has_mark = pickletools.stackslice in taken
            start = self.marks.pop() - taken.index(pickletools.markobject) if has_mark else len(self.stack) - len(taken)
            if start < 0:
                raise IndexError("the stack is empty")
            depth = 1 + max(self.stack[start:], default=0) if name in _TUPLES else 0
            self.stack[start:] = [depth] * len(operator.stack_after)


def _is_plain(named: str) -> bool:
    """Return whether a name in a pickle means plain data, weights, or a class that the user declared safe for torch.

    Example:
        >>> _is_plain("collections OrderedDict"), _is_plain("os system"), _is_plain("builtins bytearray")
        (True, False, False)
    """
    if _NAMES.fullmatch(named):
        return True
    declared = (
        each[1] if isinstance(each, tuple) else f"{each.__module__}.{each.__qualname__}" for each in get_safe_globals()
    )
    return named in {" ".join(path.rpartition(".")[::2]) for path in declared}


@final
class BudgetExceededError(RuntimeError):
    """An operator would exceed the budget."""


@final
class Budget(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its hook untyped
    """Limit the total number of elements in tensors created inside the block; raise before the limit is exceeded.

    Settings take a few bytes and may request any width, while weights take their full size in a file. A network built for
    those weights needs no more than a small multiple of them.

    Example:
        >>> import torch
        >>> with Budget(10):
        ...     torch.empty(10**12)
        Traceback (most recent call last):
        tabvision.inference.untrusted.BudgetExceededError: ...
    """

    def __init__(self, elements: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = _FACTOR * elements + _SPARE_ELEMENTS

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch spends a second importing its compiler, only to turn it off

    @override
    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        arguments = zip(func._schema.arguments, args, strict=False)  # noqa: SLF001
        sizes = [value for argument, value in arguments if argument.name == "size"]  # none for other operators
        self.left -= sum(math.prod(size) for size in sizes if all(isinstance(side, int) for side in size))
        if self.left < 0:
            raise BudgetExceededError(f"{func} asks for more elements than the weights account for")
        made: Callable[..., Any] = func
        return made(*args, **(kwargs or {}))
