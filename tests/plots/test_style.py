"""Text as it can be drawn, and colors that are legible on a light and on a dark page."""

import pytest
from matplotlib.colors import to_rgb
from matplotlib.font_manager import fontManager

from tabvision.plots.style import COLORS, INK, NO_GLYPH, drawable, font_families, label_ticks, panels, short


def test_letters_of_many_scripts_are_kept_and_those_of_none_become_squares() -> None:
    assert drawable("Größe, часть, Ταξίδι") == "Größe, часть, Ταξίδι"
    assert drawable("a\U0010fffdb") == f"a{NO_GLYPH}b"


def test_a_title_takes_one_line_and_a_long_label_is_cut() -> None:
    assert drawable(" one\n\ttwo ") == "one two"
    assert short("x" * 100) == "x" * 27 + "…"


def test_only_installed_fonts_are_named() -> None:
    installed = {font.name for font in fontManager.ttflist}

    assert set(font_families()[1:]) <= installed


def test_of_many_labels_every_nth_is_written() -> None:
    _, (axes,) = panels(3)

    label_ticks(axes, "x", range(100), max_labels=20)

    assert [text.get_text() for text in axes.get_xticklabels()] == [str(number) for number in range(0, 100, 5)]


def luminance(color: str) -> float:
    """The relative luminance of WCAG 2.2."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in to_rgb(color)]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("page", ["#ffffff", "#151515"])
def test_colors_stand_out_on_a_light_and_on_a_dark_page(page: str) -> None:
    def contrast(color: str) -> float:
        low, high = sorted([luminance(color), luminance(page)])
        return (high + 0.05) / (low + 0.05)

    assert min(map(contrast, COLORS)) >= 3
    assert contrast(INK) >= 4
