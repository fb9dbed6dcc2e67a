"""Import the public names of a package on first access, so that one of them does not import all."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__`.

    Args:
        package: The package's `__name__`.
        modules: The module of the package that defines each public name.

    Example:
        >>> lazy_names("tabvision", {"BadValueError": "errors"})("BadValueError").__name__
        'BadValueError'
    """

    def find(name: str) -> Any:  # noqa: ANN401 - whatever the package offers
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, found)  # later accesses do not get here
        return found

    return find
