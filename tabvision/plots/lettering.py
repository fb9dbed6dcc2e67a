"""Text as it can be drawn: on one line, not read as mathematics, in fonts that have its letters."""

from __future__ import annotations

from functools import lru_cache

from matplotlib import rcParams
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

NO_LETTER = "\N{WHITE SQUARE}"
# fonts of the usual systems with letters that matplotlib's own lacks: Chinese, Japanese, Korean, then almost everything
WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Apple SD Gothic Neo",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def families() -> list[str]:
    """Font families to draw labels in: the reader's own setting, then those installed that have more letters."""
    installed = {font.name for font in fontManager.ttflist}
    return [*rcParams["font.family"], *(name for name in WIDE_FONTS if name in installed)]


def drawable(text: str) -> str:
    r"""The text on one line, with a square for each letter that no font has, and its dollars kept from mathematics.

    Example:
        >>> drawable("Tom &\nJerry, 5 $")
        'Tom & Jerry, 5 \\$'
    """
    known = [_letters(findfont(FontProperties(family=[family]))) for family in families()]
    line = " ".join(text.split())
    drawn = [letter if any(ord(letter) in letters for letters in known) else NO_LETTER for letter in line]
    return "".join(drawn).replace("$", r"\$")


@lru_cache(maxsize=32)
def _letters(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())
