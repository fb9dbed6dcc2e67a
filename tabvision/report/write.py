"""Write a model's report as one self-contained HTML file: no scripts, fonts or other sites."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from tabvision import plots
from tabvision.data.tables.write import check_destination, written_whole
from tabvision.errors import speaking
from tabvision.inference import Results
from tabvision.plots.style import INK, svg_of
from tabvision.report.summary import ReportDetails, summarize
from tabvision.report.tables import Table, cell_text, frame_of

_PAGE = Path(__file__).with_name("page.html")
_NOT_FOR_PAGES = r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>"


@speaking("write_report")
def write_report(
    path: str | Path, results: Results, *, overwrite: bool = False, **details: Unpack[ReportDetails]
) -> Path:
    """Write one HTML file about a model: what it predicts, how well, from what, and where it is wrong.

    The file contains a few rows of the data, those with the highest loss.

    Args:
        path: A path that ends in .html.
        results: Rows that the model did not learn from, with its predictions: `Predictor.losses` or `Results.of_gathered`.
        overwrite: Whether to replace an existing file.
        details: Other facts about the model, such as `metrics=` and `importance=`; see `ReportDetails`.

    Returns:
        The path.

    Raises:
        BadValueError: The name does not end in .html, the file exists already, or there are no rows.
        MissingFileError: The folder does not exist.
        UnwritableFileError: The disk is full or read-only.
    """
    path = check_destination(path, suffixes=(".html",), overwrite=overwrite)
    return write_page(path, summarize(results, **details))


def write_page(path: Path, summary: Mapping[str, Any]) -> Path:
    """Write the page for a summary from `summarize`, and return its path."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(cell_text=cell_text)
    text = environment.from_string(_PAGE.read_text(encoding="utf-8")).render(summary, svg=_svg)
    with written_whole(path) as partial:  # a file name may hold a lone surrogate, which UTF-8 cannot encode
        partial.write_text(text, encoding="utf-8", errors="replace")
    return path


def _svg(figure: str, data: Table, caption: str, number: int) -> Markup:
    """Return a figure as inline SVG, in the page's text color."""
    frame = frame_of(data)
    if figure == "confusion_matrix":
        frame = frame.iloc[:, 1:].set_axis(frame.iloc[:, 0].tolist())
    drawn: Any = dict(list(frame.groupby("run", sort=False))) if figure == "history" and "run" in frame else frame
    text = re.sub(_NOT_FOR_PAGES, "", svg_of(getattr(plots, figure)(drawn), str(number)), flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*"', "<g", text).replace(INK, "currentColor")
    size = re.search(r'viewBox="0 0 [^"]*"', text)
    assert size is not None, "matplotlib writes the size of a figure"
    text = text[text.index(">", text.index("<svg")) + 1 :].strip()
    return Markup('<svg role="img" aria-label="{}" {}>').format(caption, Markup(size[0])) + Markup(text)
