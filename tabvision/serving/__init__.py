"""Serve one trained model over HTTP: predict for JSON rows or uploaded images, with a page to try it by hand.

Built on Starlette and uvicorn rather than FastAPI, whose request models must be declared in Python before the program
starts, while ours come from the checkpoint's schema; its documentation pages also load scripts from other sites.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.serving.app import create_app
    from tabvision.serving.requests import Limits
    from tabvision.serving.server import serve

__all__ = ["Limits", "create_app", "serve"]

# No module may share a name with a function here: importing it would replace the function.
_MODULES = {"Limits": "requests", "create_app": "app", "serve": "server"}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
