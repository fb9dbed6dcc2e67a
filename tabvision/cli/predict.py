"""`tabvision predict`: a raw file or photos in, answers out, from a checkpoint alone."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabvision.cli.arguments import whole

if TYPE_CHECKING:
    import pandas as pd

    from tabvision.inference import Predictor

WHO = "tabvision predict"


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse does not name the class
    """Adds the command."""
    parser = commands.add_parser("predict", help="answer the rows of a file, or photos, with a checkpoint alone")
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file, such as best.ckpt")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="+",
        help="a CSV, Parquet or Feather file with the training columns; or a folder of photos, or some photos",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="where the answers go: .csv, .parquet or .feather")
    parser.add_argument("--no-proba", action="store_true", help="labels alone, without a probability for each class")
    parser.add_argument("--tta", metavar="N", type=whole, help="look at each photo N more times, varied as in training")
    parser.add_argument("--encoding", help='of a text file that is not UTF-8, such as "latin-1"')
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto (default)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it is there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Writes one row of answers for each row or photo."""
    from tabvision.data.tables.write import check_destination, write_frame
    from tabvision.errors import count, speaking
    from tabvision.inference import Predictor
    from tabvision.inference.inputs import unseen_sentences

    with speaking(WHO):
        check_destination(arguments.out, overwrite=arguments.overwrite)
    predictor = Predictor(arguments.checkpoint, device=arguments.device)
    reads_photos = predictor.schema.image is not None
    answers = photo_answers(predictor, arguments) if reads_photos else row_answers(predictor, arguments)
    with speaking(WHO):
        write_frame(answers, arguments.out, overwrite=arguments.overwrite)
    print(f"{count(len(answers), 'photo' if reads_photos else 'row')} answered: {arguments.out}")
    for sentence in unseen_sentences(answers):
        print(sentence)
    if "error" in answers:
        failed = int(answers["error"].notna().sum())
        print(f"{count(failed, 'photo')} could not be read; the column error says why")


def row_answers(predictor: Predictor, arguments: argparse.Namespace) -> pd.DataFrame:
    """The answers to one table."""
    from tabvision.data.tables.read import read_frame
    from tabvision.errors import BadValueError, listed, speaking
    from tabvision.inference.inputs import missing_sentences

    if len(arguments.data) > 1:
        problem = f"a table is answered one at a time, got {len(arguments.data)} files"
        raise BadValueError(WHO, problem, "Run the command once for each")
    text = predictor.schema.text_columns
    with speaking(WHO):
        frame = read_frame(arguments.data[0], encoding=arguments.encoding, text=text)
    answers = predictor.predict(frame, proba=not arguments.no_proba, tta=arguments.tta)
    for sentence in missing_sentences(predictor.module, frame):
        print(sentence)
    if extra := [name for name in frame.columns if name not in predictor.schema.inputs]:
        print(f"Not used: {listed(extra)}")
    return answers


def photo_answers(predictor: Predictor, arguments: argparse.Namespace) -> pd.DataFrame:
    """The answers to photos, each beside its path."""
    from pathlib import Path

    from tabvision.data.images.files import is_picture

    image = predictor.schema.image
    name = "image" if image is None else image.name
    is_one = len(arguments.data) == 1 and not is_picture(Path(arguments.data[0]).name)
    source = arguments.data[0] if is_one else arguments.data
    answers = predictor.predict(source, proba=not arguments.no_proba, tta=arguments.tta)
    if name not in answers:
        paths = arguments.data
        if is_one:  # a table that names them
            from tabvision.data.tables.read import read_frame
            from tabvision.errors import speaking

            with speaking(WHO):
                paths = read_frame(source, encoding=arguments.encoding)[name].tolist()
        answers.insert(0, name, paths)
    return answers
