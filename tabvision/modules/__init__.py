"""LightningModules: one for each kind of data, with shared training, validation, test and prediction steps.

Each name is imported on first use, since a table needs no networks for images.
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

_MODULES = {  # the networks load without Lightning; only the modules that train them need it
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
