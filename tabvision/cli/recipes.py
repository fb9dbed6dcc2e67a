"""`tabvision recipes`: the recipes with measured results, and the datamodules for public data that they use."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tabvision.checks import check_choice
from tabvision.errors import speaking

_PACKAGE = Path(__file__).parents[1]
# the folder with models/ and datamodules/: in the installed package, otherwise the checkout
_ROOT = _PACKAGE / "recipes" if (_PACKAGE / "recipes").is_dir() else _PACKAGE.parent


def run(arguments: argparse.Namespace) -> None:
    """Print the names and questions of the recipes, or copy one."""
    recipes = {file.parent.name: file for file in sorted(_ROOT.glob("models/*/recipe.yaml"))}
    if arguments.action == "get":
        _get(arguments, recipes)
        return
    width = max(map(len, recipes))
    for name, file in recipes.items():
        question = re.match(r"# (.*?[.?])\s", file.read_text(encoding="utf-8"))
        print(f"{name:<{width}}  {question[1] if question else ''}".rstrip())


@speaking("tabvision recipes")
def _get(arguments: argparse.Namespace, recipes: dict[str, Path]) -> None:
    """Copy the recipe and the plug-ins it needs."""
    from tabvision.data.tables.write import (  # imports pandas, which the list does not need
        check_destination,
        writing,
        written_whole,
    )

    check_choice("recipe", arguments.name, recipes)
    out = Path(arguments.out or f"{arguments.name}.yaml").expanduser()
    sources = {out: recipes[arguments.name]}
    sources |= {out.parent / "datamodules" / file.name: file for file in _plug_ins(recipes[arguments.name])}
    contents = {to: file.read_bytes() for to, file in sources.items()}
    same = {to for to in contents if to.is_file() and to.read_bytes() == contents[to]}
    same |= {to for to in contents if to.is_file() and to.name == "__init__.py"}  # any file with that name will do
    new = [to for to in contents if to not in same]
    with writing(out.parent):
        (out.parent / "datamodules").mkdir(parents=True, exist_ok=True)
    for to in new:
        check_destination(to, suffixes=(".yaml", ".yml", ".py"), overwrite=arguments.overwrite)
    for to in new:
        with written_whole(to) as partial:
            partial.write_bytes(contents[to])
    print(f"{out}, and {', '.join(sorted(str(to) for to in sources if to != out))}")
    folder = "" if out.parent == Path() else f"cd {out.parent}; "
    print(f"Train it: {folder}tabvision fit --config {out.name}")


def _plug_ins(recipe: Path) -> list[Path]:
    """Return the files of datamodules/ that a recipe needs."""
    folder = _ROOT / "datamodules"
    waiting, found = [recipe], [folder / "__init__.py"]
    while waiting:
        named = re.findall(r"\bdatamodules\.(\w+)", waiting.pop().read_text(encoding="utf-8"))
        files = dict.fromkeys(folder / f"{name}.py" for name in named)
        waiting += (more := [file for file in files if file not in found and file.is_file()])
        found += more
    return found
