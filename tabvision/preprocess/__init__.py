"""Preprocess tables from frames to arrays, fitted on training rows only, with everything learned as plain data. No torch.

`infer_kinds` infers the kind of each column, `fit_features` learns statistics and vocabularies, `to_arrays` encodes frames
as arrays for a network, and `RowEncoder` encodes single rows. `Columns` holds a frame's columns, each read only once.
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
