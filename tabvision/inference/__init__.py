"""Answers from trained modules: a checkpoint alone, or everything a run predicted."""

from tabvision.inference.gather import gather
from tabvision.inference.predictor import Predictor

__all__ = ["Predictor", "gather"]
