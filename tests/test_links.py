"""Links between the documents lead somewhere, to the heading as well."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob("models/**/*.md")]
)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def test_every_link_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for name, anchor in LINK.findall(FENCED.sub("", document.read_text(encoding="utf-8"))):
            target = (document.parent / name).resolve() if name else document
            assert target.exists(), f"{document}: {name} does not exist"
            assert not anchor or anchor in anchors_of(target), f"{document}: {name} has no heading {anchor}"


def anchors_of(document: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    text = FENCED.sub("", document.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_lower_case_without_marks(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Cross-validation, and a bag\n```\n# no heading\n```\n## `fit()` it\n", encoding="utf-8")

    assert anchors_of(path) == {"cross-validation-and-a-bag", "fit-it"}
