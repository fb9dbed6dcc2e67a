"""What the site adds to mkdocs: documents from the whole repository, a reference, notebooks, and links to the reference.

The public names are those of tests/surface.txt, which a test keeps equal to the code; one page for each part of the library
shows their docstrings. The commands come from the command line itself.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.lessons.make import lessons, notebook

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("*.md", "docs/site.css", "docs/**/*.md", "benchmarks/*.md", "models/**/*.md", "datamodules/*.md")
LINKED = re.compile(r"\]\((?!https?:)([^)#\s]+\.(?:png|py|yaml))\)")  # pictures, and scripts that a document names
FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(?<![\[`])`(?:tabvision\.)?(?:(\w+)\.)?(\w+)(\([^`]*\))?`(?![\]`])")


def on_config(config: MkDocsConfig) -> None:
    """Fill in the parts of the navigation that are generated."""
    reference = ["reference/README.md", "reference/commands.md", *map(_page_of, public_names())]
    cards = [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("models/*/card.md"))]
    for entry in config.nav or []:
        if isinstance(entry, dict):
            for title, pages in {"Reference": reference, "Models": cards}.items():
                entry.get(title, []).extend(pages)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take documents from the whole repository, at their paths, and add the pages of the reference and the notebooks."""
    documents = {path for pattern in DOCUMENTS for path in ROOT.glob(pattern)}
    paths = documents | {path for document in documents for path in _linked(document)}
    names = sorted(path.relative_to(ROOT).as_posix() for path in paths)
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    site = Files([*of_theme, *(File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names)])
    for lesson in lessons():
        content = json.dumps(notebook(lesson.read_text(encoding="utf-8")), indent=1)
        site.append(File.generated(config, f"docs/lessons/{lesson.stem}.ipynb", content=content))
    for name, content in reference():
        site.append(File.generated(config, name, content=content))
    return site


def _linked(document: Path) -> Iterator[Path]:
    for link in LINKED.findall(document.read_text(encoding="utf-8")):
        yield (document.parent / link).resolve()


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:  # noqa: ANN401 - mkdocs passes more by keyword
    """Link the public names in a document to the reference, and a lesson to its notebook."""
    path = Path(page.file.src_uri)
    if path.parts[0] == "reference":
        return markdown
    if path.parts[:2] == ("docs", "lessons") and path.stem[0].isdigit():
        title, rest = markdown.split("\n", maxsplit=1)
        markdown = f"{title}\n\n[Open as a notebook]({path.stem}.ipynb)\n{rest}"
    return link_names(markdown)


def link_names(markdown: str) -> str:
    """Link public names outside of code blocks if they are capitalized, called, or prefixed with their part."""
    parts = FENCED.split(markdown)
    parts[::2] = [CODE.sub(_with_link, text) for text in parts[::2]]
    return "".join(parts)


def _with_link(code: re.Match[str]) -> str:
    part, name, called = code.groups()
    homes = [home for home, names in public_names().items() if name in names and part in {None, home}]
    is_ours = len(homes) == 1 and (part or called or name != name.lower())
    return f"[{code[0]}][tabvision.{homes[0]}.{name}]" if is_ours else code[0]


def public_names() -> dict[str, list[str]]:
    """Return the public names of each part of the library, classes and functions, without their members."""
    parts: dict[str, list[str]] = {}
    for line in (ROOT / "tests" / "surface.txt").read_text(encoding="utf-8").splitlines():
        if found := re.match(r"tabvision\.(\w+)\.(\w+)(?![\w.])", line):
            parts.setdefault(found[1], []).append(found[2])
    return parts


def reference() -> Iterator[tuple[str, str]]:
    """Return the names and texts of the reference's pages: an overview, the commands, and one page per part."""
    rows = []
    for part, names in public_names().items():
        yield _page_of(part), "\n\n".join([f"# tabvision.{part}", *_directives(part, names)])
        links = ", ".join(f"[`{name}`][tabvision.{part}.{name}]" for name in names)
        rows.append(f"| [tabvision.{part}]({part}.md) | {links} |")
    yield "reference/commands.md", "\n\n".join(["# Commands", *_commands()])
    head = ["# Reference", "", "Every public name; the [commands](commands.md) have their own page.", ""]
    yield "reference/README.md", "\n".join([*head, "| part | names |", "|---|---|", *rows])


def _page_of(part: str) -> str:
    return f"reference/{part}.md"


def _directives(part: str, names: list[str]) -> Iterator[str]:
    """Return what mkdocstrings replaces by docstrings; a function hidden by the file of its name gets its own."""
    hidden = [name for name in names if (ROOT / "tabvision" / part / f"{name}.py").exists()]
    members = json.dumps([name for name in names if name not in hidden])
    yield f"::: tabvision.{part}\n    options:\n      members: {members}"
    for name in hidden:
        yield f"[](){{#tabvision.{part}.{name}}}"
        yield f"::: tabvision.{part}.{name}.{name}\n    options:\n      show_root_heading: true"


def _commands() -> Iterator[str]:
    from tabvision.cli import build_parser

    parser = build_parser()
    yield f"```text\n{parser.format_help()}```"
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to its commands
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, command in action.choices.items():
                yield f"## tabvision {name}\n\n```text\n{command.format_help()}```"


class ExamplesAreCode(griffe.Extension):
    """Read `Example:` in a docstring as `Examples:`, whose lines after `>>>` are shown as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:  # noqa: ANN401 - griffe passes more by keyword
        """Change the docstring of a module, class, function or attribute as it is loaded."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
