"""Text as it can be drawn."""

from matplotlib.font_manager import fontManager

from tabvision.plots.embeddings import _NO_GLYPH, _drawable, _font_families


def test_letters_of_many_scripts_are_kept_and_those_of_none_become_squares() -> None:
    assert _drawable("Größe, часть, Ταξίδι") == "Größe, часть, Ταξίδι"
    assert _drawable("a\U0010fffdb") == f"a{_NO_GLYPH}b"


def test_a_title_takes_one_line() -> None:
    assert _drawable(" one\n\ttwo ") == "one two"


def test_only_installed_fonts_are_named() -> None:
    installed = {font.name for font in fontManager.ttflist}

    assert set(_font_families()[1:]) <= installed
