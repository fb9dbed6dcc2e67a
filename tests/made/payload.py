"""An object that does harm when it is unpickled."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typing_extensions import override


class Payload:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @override
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)
