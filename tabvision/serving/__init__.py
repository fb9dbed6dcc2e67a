"""A small web server for one trained model: JSON rows or uploaded images in, answers out, and a page to try it by hand.

Starlette and uvicorn carry it. FastAPI would add models declared in Python before the program starts; ours come from the
schema of whatever checkpoint is served, and its documentation pages load scripts from elsewhere.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.serving.app import create_app
    from tabvision.serving.requests import Limits
    from tabvision.serving.server import serve

__all__ = ["Limits", "create_app", "serve"]

# No module is called as a name in it: Python would put the module in the name's place.
_PLACES = {"Limits": "requests", "create_app": "app", "serve": "server"}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _PLACES)
