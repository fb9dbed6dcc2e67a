"""One page about a trained model: what it answers, how well, from what, and where it is wrong."""

from tabvision.report.summary import summarize
from tabvision.report.write import write_report

__all__ = ["summarize", "write_report"]
