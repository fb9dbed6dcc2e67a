"""LightningDataModules, and the ways to split rows.

Each name is imported when it is first asked for: reading a table needs no torch.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.data.collab import CollabDataModule
    from tabvision.data.collab_splits import LeaveLastOut
    from tabvision.data.given_splits import ColumnSplit, IndexSplit, SourceSplit
    from tabvision.data.images import ImageDataModule
    from tabvision.data.ordered_splits import GroupSplit, TimeSplit
    from tabvision.data.splits import RandomSplit, Split, StratifiedSplit
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
    "CollabDataModule": "collab",
    "ColumnSplit": "given_splits",
    "GroupSplit": "ordered_splits",
    "ImageDataModule": "images",
    "IndexSplit": "given_splits",
    "LeaveLastOut": "collab_splits",
    "RandomSplit": "splits",
    "SourceSplit": "given_splits",
    "Split": "splits",
    "StratifiedSplit": "splits",
    "TabularDataModule": "tabular",
    "TimeSplit": "ordered_splits",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _PLACES)
