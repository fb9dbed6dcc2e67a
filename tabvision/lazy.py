"""Names of a package that are imported when they are first asked for, so that one of them does not load all."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`.

    Args:
        package: Its `__name__`.
        places: The public names, and the module of the package that each lives in.

    Example:
        >>> lazy_names("tabvision", {"BadValueError": "errors"})("BadValueError").__name__
        'BadValueError'
    """

    def find(name: str) -> Any:  # noqa: ANN401 - whatever the package offers
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, found)  # the next time Python finds it by itself
        return found

    return find
