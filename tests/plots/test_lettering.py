"""Text as it can be drawn."""

from matplotlib.font_manager import fontManager

from tabvision.plots.embeddings import NO_LETTER, drawable, families


def test_letters_of_many_scripts_are_kept_and_those_of_none_become_squares() -> None:
    assert drawable("Größe, часть, Ταξίδι") == "Größe, часть, Ταξίδι"
    assert drawable("a\U0010fffdb") == f"a{NO_LETTER}b"


def test_a_title_takes_one_line() -> None:
    assert drawable(" one\n\ttwo ") == "one two"


def test_only_installed_fonts_are_named() -> None:
    installed = {font.name for font in fontManager.ttflist}

    assert set(families()[1:]) <= installed
