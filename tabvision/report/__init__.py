"""One page about a trained model (what it predicts, how well, from what, where it is wrong), and one about several runs."""

from tabvision.report.comparison import compare_runs, write_comparison
from tabvision.report.summary import summarize
from tabvision.report.write import write_report

__all__ = ["compare_runs", "summarize", "write_comparison", "write_report"]
