"""Preprocessing of tables: frame in, frame or arrays out, fitted on training rows, all facts plain data. No torch.

`infer_kinds` tells what each column is, `fit_features` learns its facts, `to_arrays` turns frames into what a network
reads and `RowEncoder` does so for single rows. The steps do the same one at a time, for frames of your own.
"""

from tabvision.preprocess.categorify import Categorify
from tabvision.preprocess.column_types import Kinds, infer_kinds
from tabvision.preprocess.dates import Dates
from tabvision.preprocess.encode import Prepared, to_arrays
from tabvision.preprocess.encode_row import RowEncoder, encode_rows
from tabvision.preprocess.fill_missing import FillMissing
from tabvision.preprocess.fit import Features, chain_of, fit_features
from tabvision.preprocess.standardize import Standardize
from tabvision.preprocess.step import Chain, Step

__all__ = [
    "Categorify",
    "Chain",
    "Dates",
    "Features",
    "FillMissing",
    "Kinds",
    "Prepared",
    "RowEncoder",
    "Standardize",
    "Step",
    "chain_of",
    "encode_rows",
    "fit_features",
    "infer_kinds",
    "to_arrays",
]
