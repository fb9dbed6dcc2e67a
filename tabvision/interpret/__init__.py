"""Interpretation of trained modules: what they learned from each column, embeddings, biases, recommendations.

Numbers only; figures are in `plots`.
"""

from tabvision.interpret.effects import effects
from tabvision.interpret.embeddings import embedding_frame, item_bias, item_factors, pca, user_bias, user_factors
from tabvision.interpret.explain import explain
from tabvision.interpret.importance import importance
from tabvision.interpret.ranking import ranking_metrics
from tabvision.interpret.recommend import recommend, similar_items

__all__ = [
    "effects",
    "embedding_frame",
    "explain",
    "importance",
    "item_bias",
    "item_factors",
    "pca",
    "ranking_metrics",
    "recommend",
    "similar_items",
    "user_bias",
    "user_factors",
]
