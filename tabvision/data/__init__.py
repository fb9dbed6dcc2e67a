"""LightningDataModules, and the ways to split rows.

Each name is imported when it is first asked for: reading a table needs no torch.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.data.images.module import ImageDataModule
    from tabvision.data.ratings.module import CollabDataModule
    from tabvision.data.splits.base import RandomSplit, Split, StratifiedSplit
    from tabvision.data.splits.given import ColumnSplit, IndexSplit, SourceSplit
    from tabvision.data.splits.ordered import GroupSplit, LeaveLastOut, TimeSplit
    from tabvision.data.tabular import TabularDataModule

__all__ = [
    "CollabDataModule",
    "ColumnSplit",
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

# No module is called as a name in it: Python would put the module in the name's place.
_PLACES = {
    "CollabDataModule": "ratings.module",
    "ColumnSplit": "splits.given",
    "GroupSplit": "splits.ordered",
    "ImageDataModule": "images.module",
    "IndexSplit": "splits.given",
    "LeaveLastOut": "splits.ordered",
    "RandomSplit": "splits.base",
    "SourceSplit": "splits.given",
    "Split": "splits.base",
    "StratifiedSplit": "splits.base",
    "TabularDataModule": "tabular",
    "TimeSplit": "splits.ordered",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _PLACES)
