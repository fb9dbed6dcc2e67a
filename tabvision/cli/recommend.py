"""`tabvision recommend`: recommend items to a user, or find similar ones, with a checkpoint alone."""

from __future__ import annotations

import argparse

from tabvision.cli.arguments import Commands, add_shared, whole


def add_recommend(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "recommend", help="recommend items to a user, or find similar ones, with a checkpoint alone"
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file that was trained on ratings")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--user", metavar="ID", help="items for this user")
    which.add_argument("--similar-to", metavar="ID", help="items like this item")
    parser.add_argument("-k", metavar="N", type=whole, default=10, help="how many (default 10)")
    parser.add_argument("--include-seen", action="store_true", help="also items that the user has already rated")
    least = "leave out items with fewer ratings (default 0 with --user, 10 with --similar-to)"
    parser.add_argument("--min-pairs", metavar="N", type=int, help=least)
    parser.add_argument("--out", metavar="FILE", help="also write them to a file: .csv, .parquet or .feather")
    add_shared(parser, "--overwrite")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    """Print the items, best first, and write them to `--out`."""
    import warnings

    from tabvision.data.tables.write import check_destination, write_frame
    from tabvision.errors import BadTypeError, speaking
    from tabvision.inference.checkpoint import load_module
    from tabvision.interpret import recommend, similar_items
    from tabvision.modules import CollabModule

    if arguments.out:
        with speaking("tabvision recommend"):
            check_destination(arguments.out, overwrite=arguments.overwrite, reads=[arguments.checkpoint])
    module = load_module(arguments.checkpoint)
    if not isinstance(module, CollabModule):
        problem = f"{arguments.checkpoint} holds a {type(module).__name__}, which knows no users and items"
        remedy = "Train on ratings: tabvision train DATA --user COL --item COL"
        raise BadTypeError("tabvision recommend", problem, remedy)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        least = {} if arguments.min_pairs is None else {"min_pairs": arguments.min_pairs}
        if arguments.user is None:
            found = similar_items(module, arguments.similar_to, arguments.k, **least)
        else:
            found = recommend(module, arguments.user, arguments.k, exclude_seen=not arguments.include_seen, **least)
    if arguments.out:  # before anything is printed, where the reader may close the pipe
        with speaking("tabvision recommend"):
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
