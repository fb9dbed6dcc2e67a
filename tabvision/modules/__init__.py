"""LightningModules: one for each kind of data, over the four steps that they share.

Each name is imported when it is first asked for: a table needs no network for pictures.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.modules.collab import CollabModule
    from tabvision.modules.supervised import SupervisedModule
    from tabvision.modules.tabular import TabularModule
    from tabvision.modules.vision import VisionModule

__all__ = ["CollabModule", "SupervisedModule", "TabularModule", "VisionModule"]

_PLACES = {
    "CollabModule": "collab",
    "SupervisedModule": "supervised",
    "TabularModule": "tabular",
    "VisionModule": "vision",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _PLACES)
