"""The options of `tabvision train`: the kinds of data that each applies to, and the setting that it sets."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from tabvision.cli.arguments import (
    TASKS,
    duration,
    file_or_fraction,
    fraction,
    names,
    positive,
    seed,
    size,
    task,
    way_to_split,
    weights,
    whole,
)
from tabvision.cli.printing import short_name
from tabvision.errors import BadValueError, speaking

if TYPE_CHECKING:
    from tabvision.data.tables.text_file import TextFormat

DEFAULT_VALIDATION = 0.2
NO_ROWS = "none"  # a value of --validation
_KINDS = {"table": "a table", "images": "images", "fused": "a table with images", "ratings": "ratings"}
_ALL = tuple(_KINDS)
_TABLE = "a table (columns that are not named are inferred and printed)"
_NAMES: dict[str, Any] = {"type": names, "action": "extend"}
_WHOLE: dict[str, Any] = {"type": whole}
_YES: dict[str, Any] = {"action": "store_const", "const": True}


class _Option(NamedTuple):
    """One option.

    Args:
        flag: The option as typed.
        setting: "data.NAME" for a setting of the datamodule, "model.NAME" for one of the module, "" for the command's own.
        metavar: The placeholder for its value in the help, or None.
        help: The help text.
        details: Other arguments of `add_argument`.
    """

    flag: str
    setting: str
    metavar: str | tuple[str, str] | None
    help: str
    details: Mapping[str, Any] = {}

    def add_to(self, parser: Any) -> None:  # noqa: ANN401 - a parser or a group in it
        """Add the option to a parser."""
        metavar = {} if self.metavar is None else {"metavar": self.metavar}
        parser.add_argument(self.flag, help=self.help, **metavar, **self.details)

    def value_in(self, arguments: argparse.Namespace) -> Any:  # noqa: ANN401 - as the option's type
        """Return the value that a command was given for the option."""
        return getattr(arguments, self.flag.removeprefix("--").replace("-", "_"))


_FORM = [  # how a text file is written; commands that predict have these options too
    _Option("--encoding", "data.encoding", "NAME", 'encoding of a text file that is not UTF-8, such as "latin-1"'),
    _Option("--na", "data.na_values", "A,B", 'words that mean a missing value, besides empty cells ("" for none)',
            _NAMES),
    _Option("--sep", "data.sep", "TEXT", 'text between fields, such as "::"; " " is any white space'),
    _Option("--no-header", "data.names", None, "the file has no header", {"action": "store_const", "const": []}),
    _Option("--names", "data.names", "A,B", "column names for a file without a header", _NAMES),
]  # fmt: skip
_PATHS = [  # where the photos of a table are; commands that predict have these options too
    _Option("--root", "data.root", "DIR", "folder that photo paths are relative to (default: the table's folder)"),
    _Option("--suffix", "data.suffix", "TEXT", "suffix to append to photo paths, such as .jpg"),
]
_GROUPS: list[tuple[str | None, tuple[str, ...], list[_Option]]] = [  # title, kinds of data, options
    (None, _ALL, [
        _Option("--target", "data.target", "COL", "the column to predict, or several: a,b", _NAMES),
        _Option("--task", "data.task", "NAME[,SETTING=VALUE]",
                f"kind of target: {', '.join(TASKS)} (default: inferred), with settings such as regression,error=huber "
                "or binary,threshold=0.3", {"type": task}),
    ]),
    (None, ("table", "images", "fused"), [
        _Option("--separator", "data.separator", "TEXT", "separator between the labels in one multi-label column"),
        _Option("--weight", "data.weight", "COL", "column with row weights"),
        _Option("--sampler", "data.sampler", "balanced|COL",
                "draw each class equally often in training, or each row in proportion to that column"),
        _Option("--corrections", "data.corrections", "FILE",
                "table of rows to relabel or drop: row (or image path) and label (empty or drop)"),
        _Option("--calibration", "data.calibration", "FRACTION",
                "fraction of the training rows to hold out for `tabvision calibrate --run DIR`", {"type": fraction}),
    ]),
    (None, _ALL, [
        _Option("--day-first", "data.day_first", None, "dates such as 3/4/2024 have the day first", _YES),
        _Option("--drop-missing-target", "data.missing_target", None, "drop rows without a target",
                {"action": "store_const", "const": "drop"}),
        *_FORM,
    ]),
    (_TABLE, ("table", "fused"), [
        _Option("--categorical", "data.categorical", "A,B", "columns to read as categories", _NAMES),
        _Option("--continuous", "data.continuous", "A,B", "columns to read as numbers", _NAMES),
        _Option("--dates", "data.dates", "A,B", "columns to read as dates; when=d/m/Y also sets the order", _NAMES),
        _Option("--ignore", "data.ignore", "A,B", "columns to leave out", _NAMES),
    ]),
    (_TABLE, ("table",), [
        _Option("--preset", "", None, "fast: a few epochs, for a first look; best: average five networks, in five "
                "times the time", {"choices": ["fast", "default", "best"]}),
        _Option("--prepared", "data.prepared", "FOLDER",
                "encode the table once into that folder and train from there, as needed for a table larger than memory "
                "(default: in the user's cache if it would not fit)"),
    ]),
    (_TABLE, ("table", "images"), [
        _Option("--refit", "", None,
                "after measuring the network, retrain best.ckpt on training and validation rows (default: if the validation "
                "rows are the latest; for photos, if a linear head is the best)", {"action": argparse.BooleanOptionalAction}),
    ]),
    (_TABLE, ("table",), [
        _Option("--intervals", "", "FRACTION", "for numbers: add intervals that cover that fraction of new rows, such as 0.9",
                {"type": fraction}),
    ]),
    ("images", ("images", "fused"), [
        _Option("--image", "data.image", "A,B",
                "columns of image paths, if DATA is a table; its other columns are used too", _NAMES),
        *_PATHS,
    ]),
    ("images", ("images",), [
        _Option("--image-only", "", None, "train only on the images of --image, not on other columns", _YES),
        _Option("--label-depth", "data.label_depth", "N", "depth of the class folders below DATA (default 1)", _WHOLE),
        _Option("--label-pattern", "data.label_pattern", "REGEX",
                "read the label from the file name: the first group of REGEX"),
        _Option("--probe", "", None,
                "fit a linear probe on frozen features first and a linear head on the trained body at the end; keep the "
                "best (default: for pretrained weights)", {"action": argparse.BooleanOptionalAction}),
    ]),
    ("images", ("images", "fused"), [
        _Option("--body", "model.body", "NAME",
                "pretrained torchvision or timm network (default resnet34); for a,b,c the one with the best linear probe"),
        _Option("--weights", "model.weights", "NAME", "pretrained weights: default, a named set, a local file, or none"),
        _Option("--size", "data.size", "PIXELS", "image size, 224 or 192x256 (default 224)", {"type": size}),
        _Option("--resize", "data.resize", None, "how to fit images of other shapes to that size (default crop)",
                {"choices": ["crop", "squish", "pad"]}),
        _Option("--channels", "data.channels", "N",
                "channels to read: 1 for grayscale, 3 for RGB (default), or as many as the images have", _WHOLE),
        _Option("--value-range", "data.value_range", ("LOW", "HIGH"),
                "stored values for black and white (default: 0 255 for 8 bits, otherwise the range of most values)",
                {"nargs": 2, "type": float}),
        _Option("--augment", "data.augment", "NAME", "strength of augmentation: none, light, default or strong"),
        _Option("--freeze-epochs", "", "N",
                "epochs in which only new layers train, 0 for none (default 5 of 9; with other columns 30 of 32, or "
                "all below 10,000 rows)",
                {"type": functools.partial(whole, least=0)}),
        _Option("--features", "", "FOLDER",
                "cache features of the frozen body there, for later runs with the same photos and settings"),
        _Option("--cache", "data.cache", "WHERE",
                "where to keep small copies of the photos: memory, none, or a folder (default auto)"),
        _Option("--bad-share", "data.bad_share", "FRACTION",
                "allowed fraction of unreadable files (default 0.01; a few always are, unless it is 0)", {"type": float}),
    ]),
    ("images", ("images",), [
        _Option("--mixup", "", "ALPHA",
                "train on photos blended in pairs (MixUp), such as 0.4; for long runs", {"type": positive}),
        _Option("--head", "model.head", None, "kind of head (default concat)", {"choices": ["concat", "mlp", "linear"]}),
        _Option("--frozen-bf16", "model.frozen_bf16", None,
                "compute the frozen body in bfloat16, for processors where that is fast", _YES),
    ]),
    ("ratings (without --target, each row means that the user took the item)", ("ratings",), [
        _Option("--user", "data.user", "COL", "column of users"),
        _Option("--item", "data.item", "COL", "column of items"),
        _Option("--timestamp", "data.timestamp", "COL", "column with timestamps, for --split and --duplicates"),
        _Option("--duplicates", "data.duplicates", None,
                "what to do with repeated pairs (default few: keep the last if there are few)",
                {"choices": ["error", "last", "keep", "few"]}),
        _Option("--titles", "data.titles", "FILE", "a table with the items' ids and titles"),
        _Option("--title", "data.title", "COL", "column of titles, in --titles (default title) or otherwise in DATA"),
        _Option("--y-range", "data.y_range", ("LOW", "HIGH"),
                "lowest and highest prediction (default: the ratings, half a step wider)", {"nargs": 2, "type": float}),
        _Option("--negatives", "data.negatives", "N",
                "without --target: number of items not taken to draw for each row (default 4)", _WHOLE),
        _Option("--kind", "model.kind", None, "how to combine factors: by their dot product or by layers (default dot)",
                {"choices": ["dot", "neural"]}),
        _Option("--factors", "model.factors", "N", "number of factors for each user and item", _WHOLE),
    ]),
    ("training", _ALL, [
        _Option("--from", "", "CKPT", "start from the network in that checkpoint, extended by the new values, columns and "
                "classes of DATA"),
        _Option("--epochs", "", "N", "passes over the training rows (default: depends on the data)", _WHOLE),
        _Option("--lr", "", "RATE", 'peak learning rate: "1e-2", first and last "1e-4:1e-2", or auto'),
        _Option("--batch-size", "", "N", "rows per step (default: depends on the data)", _WHOLE),
        _Option("--validation", "", "FILE|FRACTION|none",
                "validation rows: a file, a folder, a fraction of DATA (default 0.2; a table below 20,000 rows needs "
                "none), or none, to train on all rows", {"type": file_or_fraction}),
        _Option("--test", "", "FILE|FRACTION",
                "test rows for the finished network: a file, a folder, or a fraction of DATA",
                {"type": file_or_fraction}),
        _Option("--split", "", "WAY", "rows to hold out: random, stratified, time:COL (the latest), group:COL (whole "
                "groups), column:COL (values train, valid or test), last (the last rows; for ratings the last of each "
                "user); for ratings also time",
                {"type": way_to_split}),
        _Option("--class-weights", "", "WEIGHTS",
                "with --task: class weights in the loss, balanced, or 1,5 in the order of the classes", {"type": weights}),
        _Option("--max-time", "", "TIME", "stop after this time: 90s, 30m or 2h; with --preset best for each network",
                {"type": duration}),
        _Option("--seed", "data.seed", "N", "seed for split, weights and order (default 0)", {"type": seed, "default": 0}),
        _Option("--accelerator", "", "NAME", "auto (default), cpu, gpu …, as for a Trainer", {"default": "auto"}),
        _Option("--devices", "", "N", "number of devices, or auto (default), as for a Trainer", {"default": "auto"}),
        _Option("--micro-batches", "", "N", "batches per step, divided among the devices; --resume works with any number of "
                "devices that divides it (default: the number of devices)", _WHOLE),
        _Option("--precision", "", "NAME", "32-true (default), bf16-mixed …, as for a Trainer"),
    ]),
    ("output", _ALL, [
        _Option("--out", "", "DIR", "folder for all output (default runs/NAME-OF-DATA)"),
        _Option("--overwrite", "", None, "replace the run in DIR", {"action": "store_true"}),
        _Option("--verifiable", "", None, "keep a checkpoint of every epoch and hashes of all files, for tabvision verify",
                {"action": "store_true"}),
        _Option("--logger", "", None, "also log to another tool, if it is installed (default csv: metrics.csv only)",
                {"choices": ["csv", "tensorboard", "mlflow", "wandb"], "default": "csv"}),
        _Option("--quiet", "", None, "print only the metrics and the files", {"action": "store_true"}),
        _Option("--columns", "", None, "print how every column is used, however many there are", {"action": "store_true"}),
        _Option("--no-report", "", None, "do not write report.html", {"action": "store_true"}),
    ]),
]  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option to the command's parser, in groups."""
    groups: dict[str | None, Any] = {None: parser}
    for title, _, options in _GROUPS:
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        for option in options:
            option.add_to(groups[title])


def add_form_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the format of a text file and the location of its photos to another command's parser."""
    for option in (*_FORM, *_PATHS):
        option.add_to(parser)


def form_of(arguments: argparse.Namespace) -> TextFormat:
    """Return the settings for the format of a text file that the options give.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_form_options(parser)
        >>> form_of(parser.parse_args(["--na", "", "--no-header"]))
        {'na_values': [], 'names': []}
    """
    given = [(it.setting.removeprefix("data."), it.value_in(arguments)) for it in _FORM]
    return cast("TextFormat", {name: value for name, value in given if value is not None})


def settings_of(arguments: argparse.Namespace, kind: str, part: str) -> dict[str, Any]:
    """Return the settings given for a part of a run, "data" or "model", by name.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_options(parser)
        >>> settings_of(parser.parse_args(["--factors", "8", "--user", "name"]), "ratings", "model")
        {'factors': 8}
    """
    options = [it for _, kinds, some in _GROUPS if kind in kinds for it in some if it.setting.startswith(f"{part}.")]
    given = [(it.setting.removeprefix(f"{part}."), it.value_in(arguments)) for it in options]  # some share a setting
    return {name: value for name, value in given if value is not None}


@speaking("tabvision train")
def check_options(arguments: argparse.Namespace, kind: str) -> None:
    """Raise if an option does not apply to this kind of data, or if a table has no target."""
    others = [(kinds, option) for _, kinds, options in _GROUPS if kind not in kinds for option in options]
    for kinds, option in others:
        if (value := option.value_in(arguments)) is not None:
            wanted = " or ".join(_KINDS[name] for name in kinds if name != "fused")
            flag = option.flag.replace("--", "--no-", 1) if value is False else option.flag
            alone = " alone" if kind == "fused" and "images" in kinds else ""
            problem = f"{flag} is for {wanted}{alone}, and {short_name(arguments.data)} is taken as {_KINDS[kind]}"
            ways = {
                "table": "name the column of images with --image COL",
                "fused": "the other columns with --image-only",
            }
            way = ways.get(kind, "") if "images" in kinds else ""
            remedy = f"Leave {flag} out, or {way or 'see tabvision train --help'}"
            raise BadValueError(problem, remedy)
    if kind in ("table", "fused") and not arguments.target:
        raise BadValueError("a table needs --target, the column to predict", "Add --target COL")


def given_flags(arguments: argparse.Namespace) -> list[str]:
    """Return the options whose value differs from the default.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> add_options(parser)
        >>> given_flags(parser.parse_args(["--seed", "0", "--epochs", "3"]))
        ['--epochs']
    """
    defaults: dict[str, Any] = {"store_true": False}  # other options without a default have None
    return [
        option.flag
        for _, _, options in _GROUPS
        for option in options
        if option.value_in(arguments) != option.details.get("default", defaults.get(str(option.details.get("action"))))
    ]
