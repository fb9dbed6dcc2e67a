"""`tabvision verify`: replay random stretches of a fit, and say whether they are what its recipe and data give."""

from __future__ import annotations

import argparse
import math
import random

_WHO = "tabvision verify"


def draw(num_stretches: int, share: float, chance: random.Random) -> list[int]:
    """Return the stretches to replay: a share of all, rounded up, each set as likely as any other.

    Example:
        >>> len(draw(100, 0.05, random.Random(0))), draw(3, 1, random.Random(0))
        (5, [0, 1, 2])
    """
    return sorted(chance.sample(range(num_stretches), min(num_stretches, math.ceil(round(share * num_stretches, 6)))))


def chance_to_find(num_forged: int, num_stretches: int, num_drawn: int) -> float:
    """Return the probability that a draw has one of the forged stretches: 1 - C(n - t, k) / C(n, k).

    Example:
        >>> [round(chance_to_find(forged, 100, 5), 3) for forged in (1, 10, 100)]
        [0.05, 0.416, 1.0]
    """
    missed = math.comb(num_stretches - num_forged, num_drawn) / math.comb(num_stretches, num_drawn)
    return 1 - missed


def run(arguments: argparse.Namespace) -> int:
    """Print a line for each stretch that is replayed, and what that proves."""
    from pathlib import Path

    from tabvision.cli.chain import TOLERANCE, differing_facts, read_chain, replay
    from tabvision.cli.resume import read_recipe
    from tabvision.cli.safe import check_writes_here
    from tabvision.errors import speaking

    folder = Path(arguments.folder).expanduser()
    with speaking(_WHO):
        trained_on, stretches, head = read_chain(folder)
        recipe = read_recipe(folder / "recipe.yaml")
        if arguments.safe:
            check_writes_here(recipe["trainer"], recipe["data"])
    print(f"Every file is that of the chain, whose hash is {head}")
    other = differing_facts(recipe, trained_on)
    near = f"within {TOLERANCE:g} of how far the weights moved, as it is another {', '.join(other)}"
    print(f"Compared {near if other else 'to the bit'}.")
    drawn = draw(len(stretches), arguments.share, random.SystemRandom())
    forged = 0
    for number in drawn:
        stretch = stretches[number]
        with speaking(_WHO):
            difference = replay(recipe, stretch, exact=not other)
        forged += bool(difference)
        print(f"steps {stretch.first:,} to {stretch.last:,}: {difference or 'as recipe and data give'}", flush=True)
    print(_summary(len(stretches), len(drawn), forged))
    return int(forged > 0)


def _summary(num_stretches: int, num_drawn: int, num_found: int) -> str:
    """Return what a replay proves.

    Example:
        >>> _summary(20, 2, 0).partition(". ")[2].partition("; ")[0]
        'Of so many a replay finds a forgery of 1 with probability 0.1, of 2 with 0.195, of 10 with 0.763'
    """
    found = f"{num_found} differ" if num_found > 1 else "1 differs" if num_found else "none differs"
    said = f"{num_drawn} of {num_stretches} stretches were replayed, and {found}."
    if num_drawn == num_stretches:
        return said
    sizes = sorted({1, math.ceil(num_stretches / 10), math.ceil(num_stretches / 2)})
    chances = [f"of {size} with {chance_to_find(size, num_stretches, num_drawn):.3g}" for size in sizes]
    chances[0] = chances[0].replace("with", "with probability")
    return f"{said} Of so many a replay finds a forgery {', '.join(chances)}; --share 1 finds any."
