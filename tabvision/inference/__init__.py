"""Answers from trained modules: a checkpoint alone, an exported file without torch, or everything a run predicted.

Each name is imported when it is first asked for: `OnnxPredictor` needs neither torch nor Lightning.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.inference.exporting import export
    from tabvision.inference.onnx_predictor import OnnxPredictor
    from tabvision.inference.predictor import Predictor
    from tabvision.inference.writer import PredictionWriter, gather, merge_predictions

__all__ = ["OnnxPredictor", "PredictionWriter", "Predictor", "export", "gather", "merge_predictions"]

# No module is called as a function of it: Python would put the module in the function's place.
_PLACES = {
    "OnnxPredictor": "onnx_predictor",
    "PredictionWriter": "writer",
    "Predictor": "predictor",
    "export": "exporting",
    "gather": "writer",
    "merge_predictions": "writer",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _PLACES)
