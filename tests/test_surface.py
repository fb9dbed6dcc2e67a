"""The public surface, written down: changing a name, a signature or an option is a visible act.

`surface.txt` beside this file lists it. To accept a change: `python tests/test_surface.py --write`.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from typing_extensions import override

SURFACE = Path(__file__).with_name("surface.txt")
COMMAND = "python tests/test_surface.py --write"
FOREIGN = "lightning"  # the door to Lightning, whose names are not ours to promise
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the text of a default that is a function


def test_the_surface_is_as_written_down() -> None:
    written = SURFACE.read_text(encoding="utf-8").splitlines() if SURFACE.exists() else []

    assert written == surface(), explain(written, surface())


def explain(written: list[str], found: list[str]) -> str:
    """The difference, and how to accept it."""
    changes = difflib.unified_diff(written, found, "tests/surface.txt", "the code", lineterm="", n=0)
    return "\n".join(["The public surface changed. If that is meant, run:", f"    {COMMAND}", *changes])


def surface() -> list[str]:
    """Public names with their signatures, then command-line options, both sorted."""
    return [*sorted(set(library_names())), *sorted(set(command_line()))]


def library_names() -> Iterator[str]:
    library = importlib.import_module("tabvision")
    for part in pkgutil.iter_modules(library.__path__):
        if not part.name.startswith("_") and part.name != FOREIGN:
            module = importlib.import_module(f"tabvision.{part.name}")
            for name in public_names(module):
                yield from describe(f"{module.__name__}.{name}", getattr(module, name))


def public_names(module: ModuleType) -> list[str]:
    """A module's `__all__`, or else what it defines itself without a leading underscore."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return [name for name in own if not name.startswith("_")]


def describe(name: str, value: Any) -> Iterator[str]:
    """One line for a function or value; for a class one more for each public method and property that it adds."""
    if not inspect.isclass(value):
        yield f"{name}{signature(value)}" if callable(value) else name
        return
    yield f"{name}{signature(value)}"
    for kind in (value, *hidden_bases(value)):
        for member, inner in vars(kind).items():
            if not member.startswith("_"):
                yield from describe_member(f"{name}.{member}", inner)


def hidden_bases(value: type) -> list[type]:
    """The base classes of a public class that no package exports, so that only it shows what they hold."""
    own = [base for base in value.__mro__[1:] if base.__module__.startswith("tabvision.")]
    packages = {base: importlib.import_module(".".join(base.__module__.split(".")[:2])) for base in own}
    return [base for base in own if base.__name__ not in public_names(packages[base])]


def describe_member(name: str, value: Any) -> Iterator[str]:
    if getattr(getattr(value, "fget", value), "__override__", False):
        return  # marked @override: the base class, ours or Lightning's, lists it
    if isinstance(value, property):
        yield f"{name} (property)"
    elif isinstance(value, classmethod | staticmethod):
        yield f"{name}{signature(value.__func__)}"
    elif inspect.isfunction(value):
        yield f"{name}{signature(value)}"


def signature(value: Any) -> str:
    if hasattr(value, "__required_keys__"):  # a TypedDict: its keys are what it takes
        return f"[{', '.join(value.__annotations__)}]"
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):  # a type alias or a class of C code has none
        return ""
    parameters = [each.replace(annotation=_unquoted(each.annotation)) for each in found.parameters.values()]
    answer = inspect.Signature.empty if inspect.isclass(value) else _unquoted(found.return_annotation)
    return ADDRESS.sub("", str(inspect.Signature(parameters, return_annotation=answer)))


def _unquoted(annotation: Any) -> Any:
    """An annotation that prints as it was written: unevaluated ones are strings, which Python would quote."""
    annotation = getattr(annotation, "__forward_arg__", annotation)  # what NamedTuple makes of a string
    return _Text(annotation) if isinstance(annotation, str) else annotation


class _Text(str):
    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def command_line() -> Iterator[str]:
    parser = importlib.import_module("tabvision.cli").build_parser()
    yield from options("tabvision", parser)


def options(command: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """Every option of a command and of the commands under it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield f"$ {command} {name}"
                yield from options(f"{command} {name}", inner)
        else:
            word = "/".join(action.option_strings) or str(action.metavar or action.dest).upper()
            choices = f" {{{','.join(map(str, action.choices))}}}" if action.choices else ""
            yield f"$ {command} {word}{choices}"


def write() -> None:
    SURFACE.write_text("\n".join(surface()) + "\n", encoding="utf-8")


# The description, held to what it promises.


class Base:
    def inherited(self) -> None: ...

    @property
    def also_inherited(self) -> int:
        return 1


class Example(Base):
    """A class as a user meets it."""

    def __init__(self, size: int, *, deep: bool = False) -> None:
        self.size = (size, deep)

    def run(self, times: int = 1) -> None: ...

    @property
    def width(self) -> int:
        return self.size[0]

    @classmethod
    def make(cls) -> Example:
        return cls(1)

    @override
    def __str__(self) -> str:
        return "example"

    @override
    def inherited(self) -> None: ...

    @property
    @override
    def also_inherited(self) -> int:
        return 2

    def _private(self) -> NoReturn:
        raise AssertionError


def test_a_class_is_described_with_the_public_members_that_it_adds() -> None:
    assert list(describe("x.Example", Example)) == [
        "x.Example(size: int, *, deep: bool = False)",
        "x.Example.run(self, times: int = 1) -> None",
        "x.Example.width (property)",
        "x.Example.make(cls) -> Example",
    ]


def test_what_a_module_defines_itself_is_public_unless_all_decides() -> None:
    module = ModuleType("made")
    exec("from pathlib import Path\ndef run(): ...\ndef _hidden(): ...\nLIMIT = 3", vars(module))
    assert public_names(module) == ["run"]

    exec("from pathlib import Path\n__all__ = ['Path']", vars(module))
    assert public_names(module) == ["Path"]


def test_a_default_that_is_a_function_has_no_address() -> None:
    def call(activation: object = public_names) -> None: ...

    assert "0x" not in signature(call)


def test_options_of_every_command_are_listed() -> None:
    parser = argparse.ArgumentParser(prog="tabvision", add_help=False)
    train = parser.add_subparsers().add_parser("train", add_help=False)
    train.add_argument("data")
    train.add_argument("--epochs", "-e", type=int)
    train.add_argument("--task", choices=["binary", "regression"])

    assert list(options("tabvision", parser)) == [
        "$ tabvision train",
        "$ tabvision train DATA",
        "$ tabvision train --epochs/-e",
        "$ tabvision train --task {binary,regression}",
    ]


def test_a_change_is_shown_with_the_command_that_accepts_it() -> None:
    message = explain(["a(x)"], ["a(y)"])

    assert message.endswith("-a(x)\n+a(y)")
    assert COMMAND in message


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit(f"usage: {COMMAND}")
    sys.path[0] = str(Path(__file__).parents[1])  # the checkout, not tests/, whose folders are named as the library's
    write()
