"""Predict with trained modules: from a checkpoint, from an exported file without torch, or with `trainer.predict`.

Each name is imported on first access: `OnnxPredictor` needs neither torch nor Lightning.
"""

from typing import TYPE_CHECKING

from tabvision.lazy import lazy_names

if TYPE_CHECKING:
    from tabvision.inference.exporting import export
    from tabvision.inference.onnx_predictor import OnnxPredictor
    from tabvision.inference.predictor import Predictor
    from tabvision.inference.results import Results
    from tabvision.inference.writer import PredictionWriter, gather, merge_predictions

__all__ = ["OnnxPredictor", "PredictionWriter", "Predictor", "Results", "export", "gather", "merge_predictions"]

# No module may have the name of a function here, since importing it would replace the function.
_MODULES = {
    "OnnxPredictor": "onnx_predictor",
    "PredictionWriter": "writer",
    "Predictor": "predictor",
    "Results": "results",
    "export": "exporting",
    "gather": "writer",
    "merge_predictions": "writer",
}
if not TYPE_CHECKING:  # a type checker sees the imports above
    __getattr__ = lazy_names(__name__, _MODULES)
