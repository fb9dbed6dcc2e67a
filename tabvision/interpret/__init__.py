"""Interpret trained modules: what they learned from each column, embeddings, biases, recommendations.

This package returns numbers; `plots` draws them.
"""

from tabvision.interpret.drift import drift, overlap
from tabvision.interpret.duplicates import duplicates
from tabvision.interpret.effects import effects
from tabvision.interpret.embeddings import embedding_frame, item_bias, item_factors, pca, user_bias, user_factors
from tabvision.interpret.evaluate import evaluate
from tabvision.interpret.explain import explain
from tabvision.interpret.gradcam import gradcam
from tabvision.interpret.importance import importance
from tabvision.interpret.mistakes import (
    confusion,
    likely_mislabeled,
    most_confused,
    reliability,
    residuals,
    threshold_curves,
    top_losses,
)
from tabvision.interpret.ranking import ranking_metrics
from tabvision.interpret.recommend import recommend, similar_items
from tabvision.interpret.slices import errors_by, worst_slices

__all__ = [
    "confusion",
    "drift",
    "duplicates",
    "effects",
    "embedding_frame",
    "errors_by",
    "evaluate",
    "explain",
    "gradcam",
    "importance",
    "item_bias",
    "item_factors",
    "likely_mislabeled",
    "most_confused",
    "overlap",
    "pca",
    "ranking_metrics",
    "recommend",
    "reliability",
    "residuals",
    "similar_items",
    "threshold_curves",
    "top_losses",
    "user_bias",
    "user_factors",
    "worst_slices",
]
