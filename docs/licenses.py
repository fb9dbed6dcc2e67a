"""List the packages that tabvision installs, with their licenses: python docs/licenses.py > build/licenses.md."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = (
    "pl",
    "demo",
    "excel",
    "export",
    "jpeg",
    "serve",
    "sklearn",
)  # what users install; docs and dev are for developers

UNKNOWN = "not stated"


class Row(NamedTuple):
    """A distribution as its own metadata describes it."""

    name: str
    version: str
    license: str


def dependencies(name: str, extras: Sequence[str] = EXTRAS) -> set[str]:
    """Return the canonical names of a distribution's direct and indirect dependencies that are installed here."""
    found: set[str] = set()
    waiting = [(name, tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        for text in distribution(name).requires or ():
            needed = Requirement(text)
            key = canonicalize_name(needed.name)
            applies = needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *wanted))
            if applies and key not in found and _is_installed(key):
                found.add(key)
                waiting.append((key, tuple(needed.extras)))
    return found


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def licenses(name: str) -> list[Row]:
    """Return the dependencies of a distribution with their versions and licenses, sorted by name."""
    return [_row(each) for each in sorted(dependencies(name))]


def _row(name: str) -> Row:
    """Return a package; its license is an SPDX expression, or else a short text, or else classifiers."""
    found = distribution(name)
    fields = found.metadata.get_all
    classifiers = [each.split(" :: ")[-1] for each in fields("Classifier") or [] if each.startswith("License :: ")]
    short = [text for text in fields("License") or [] if "\n" not in text and text not in {"", "UNKNOWN"}]
    stated = fields("License-Expression") or short or classifiers
    return Row(found.metadata["Name"], found.version, ", ".join(stated) or UNKNOWN)


def main() -> None:
    """Print them as a table."""
    print("| package | version | license |\n|---|---|---|")
    for row in licenses("tabvision"):
        print(f"| {row.name} | {row.version} | {row.license} |")


if __name__ == "__main__":
    main()
