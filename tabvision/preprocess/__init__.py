"""Preprocessing of tables: frame in, arrays out, fitted on training rows only, all facts plain data. No torch.

`infer_kinds` tells what each column is, `fit_features` learns its facts, `to_arrays` turns frames into what a network
reads and `RowEncoder` does so for single rows. `Columns` holds a frame's columns, read once for all three.
"""

from tabvision.preprocess.column_types import Kinds, infer_kinds
from tabvision.preprocess.encode import Prepared, to_arrays
from tabvision.preprocess.encode_row import RowEncoder, encode_rows
from tabvision.preprocess.fit import Features, fit_features
from tabvision.preprocess.frame import Columns

__all__ = [
    "Columns",
    "Features",
    "Kinds",
    "Prepared",
    "RowEncoder",
    "encode_rows",
    "fit_features",
    "infer_kinds",
    "to_arrays",
]
