"""LightningDataModules, and the ways to split rows."""

from tabvision.data.given_splits import ColumnSplit, IndexSplit, SourceSplit
from tabvision.data.ordered_splits import GroupSplit, TimeSplit
from tabvision.data.splits import RandomSplit, Split, StratifiedSplit
from tabvision.data.tabular import TabularDataModule

__all__ = [
    "ColumnSplit",
    "GroupSplit",
    "IndexSplit",
    "RandomSplit",
    "SourceSplit",
    "Split",
    "StratifiedSplit",
    "TabularDataModule",
    "TimeSplit",
]
