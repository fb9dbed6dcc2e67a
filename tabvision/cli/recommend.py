"""`tabvision recommend`: recommend items to a user, or find similar ones, with only a checkpoint."""

from __future__ import annotations

import argparse
import warnings

from tabvision.data.tables.write import check_destination, write_frame
from tabvision.errors import BadTypeError, speaking
from tabvision.inference.checkpoint import open_checkpoint
from tabvision.interpret import recommend, similar_items
from tabvision.modules import CollabModule


@speaking("tabvision recommend")
def run(arguments: argparse.Namespace) -> None:
    """Print the items, best first, and write them to `--out` if given."""
    if arguments.out:
        check_destination(arguments.out, overwrite=arguments.overwrite, reads=[arguments.checkpoint])
    module = open_checkpoint(arguments.checkpoint).module
    if not isinstance(module, CollabModule):
        problem = f"{arguments.checkpoint} holds a {type(module).__name__}, which was not trained on ratings"
        raise BadTypeError(problem, "Train one on ratings: tabvision train DATA --user COL --item COL")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        least = {} if arguments.min_pairs is None else {"min_pairs": arguments.min_pairs}
        if arguments.user is None:
            found = similar_items(module, arguments.similar_to, arguments.k, **least)
        else:
            found = recommend(module, arguments.user, arguments.k, exclude_seen=not arguments.include_seen, **least)
    if arguments.out:  # before printing, since the reader may close the pipe
        write_frame(found, arguments.out, overwrite=arguments.overwrite)
    for warning in caught:
        print(warning.message)
    print(found.to_string(index=False) if len(found) else _nothing_left(arguments))
    if arguments.out:
        print(arguments.out)


def _nothing_left(arguments: argparse.Namespace) -> str:
    """Return the sentence to print when there is no item to recommend."""
    if arguments.user is None:
        return "No other item has enough ratings to tell what it is like. Ask for fewer: --min-pairs 1"
    least = "has too few ratings (--min-pairs)" if arguments.min_pairs else ""
    seen = "" if arguments.include_seen else "was rated by the user"
    return f"Nothing is left: every item {' or '.join(filter(None, [seen, least]))}."
