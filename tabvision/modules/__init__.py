"""LightningModules: one for each kind of data, on top of a shared training, validation, test and prediction step.

Each name is imported when it is first used: a table needs no network for images.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.modules.collab import CollabModule
    from tabvision.modules.fused import FusedModule
    from tabvision.modules.supervised import SupervisedModule
    from tabvision.modules.tabular import TabularModule
    from tabvision.modules.vision import VisionModule

__all__ = ["CollabModule", "FusedModule", "SupervisedModule", "TabularModule", "VisionModule"]

_MODULES = {  # a network needs no Lightning; its module trains it
    "CollabModule": "collab",
    "CollabNetwork": "collab_network",
    "FusedModule": "fused",
    "FusedNetwork": "fused_network",
    "SupervisedModule": "supervised",
    "TabularModule": "tabular",
    "TabularNetwork": "tabular_network",
    "VisionModule": "vision",
    "VisionNetwork": "vision_network",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
