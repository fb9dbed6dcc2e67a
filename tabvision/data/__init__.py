"""LightningDataModules, and ways to split rows.

Names are imported on first use, so that reading a table does not import torch.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.data.fused import FusedDataModule
    from tabvision.data.images.module import ImageDataModule
    from tabvision.data.ratings.module import CollabDataModule
    from tabvision.data.splits.base import Split
    from tabvision.data.splits.given import ColumnSplit, IndexSplit, SourceSplit
    from tabvision.data.splits.ordered import LeaveLastOut, TimeSplit
    from tabvision.data.splits.random import GroupSplit, RandomSplit, StratifiedSplit
    from tabvision.data.tabular import TabularDataModule

__all__ = [
    "CollabDataModule",
    "ColumnSplit",
    "FusedDataModule",
    "GroupSplit",
    "ImageDataModule",
    "IndexSplit",
    "LeaveLastOut",
    "RandomSplit",
    "SourceSplit",
    "Split",
    "StratifiedSplit",
    "TabularDataModule",
    "TimeSplit",
]

# A module must not be named like something in it: Python would bind the module to that name.
_MODULES = {
    "CollabDataModule": "ratings.module",
    "ColumnSplit": "splits.given",
    "FusedDataModule": "fused",
    "GroupSplit": "splits.random",
    "ImageDataModule": "images.module",
    "IndexSplit": "splits.given",
    "LeaveLastOut": "splits.ordered",
    "RandomSplit": "splits.random",
    "SourceSplit": "splits.given",
    "Split": "splits.base",
    "StratifiedSplit": "splits.random",
    "TabularDataModule": "tabular",
    "TimeSplit": "splits.ordered",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
