"""tabvision: fastai's way of training as plain PyTorch Lightning parts.

Importing this package loads neither torch nor pandas. A class such as `tabvision.TabularModule` is imported from its part,
`tabvision.modules`, when it is first used.
"""

from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from tabvision.callbacks import *
    from tabvision.data import *
    from tabvision.inference import *
    from tabvision.modules import *
    from tabvision.tasks import *
    from tabvision.tuning import *
else:

    def __getattr__(name: str) -> object:
        """Import a public name from its part on first use."""
        from importlib import import_module, util

        is_module = util.find_spec(f"{__name__}.{name}") is not None  # `from tabvision import schema` asks here first
        for part in () if is_module else ("callbacks", "data", "inference", "modules", "tasks", "tuning"):
            package = import_module(f"{__name__}.{part}")
            if name in package.__all__:
                globals()[name] = getattr(package, name)  # later accesses do not get here
                return globals()[name]
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
