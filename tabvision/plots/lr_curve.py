"""The curve of a learning-rate sweep with what it suggests."""

from __future__ import annotations

from matplotlib.figure import Figure

from tabvision.tuning import LRFinding

TALLEST = 1.5  # times the first loss: what shoots above tells nothing and hides the rest


def lr_curve(finding: LRFinding) -> Figure:
    """Draws the smoothed loss over the rate, and the suggestions.

    Args:
        finding: What `lr_find` gave.

    Example:
        >>> finding = LRFinding((1e-3, 1e-2), (1.0, 0.5), lowest=1e-3, valley=1e-3, steep=1e-3, minimum=1e-3, slide=1e-3)
        >>> lr_curve(finding).axes[0].get_xscale()
        'log'
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(finding.lrs, finding.losses, color="gray")
    for color, way in enumerate(("lowest", "valley", "steep", "minimum", "slide")):
        rate = getattr(finding, way)
        at = min(range(len(finding.lrs)), key=lambda place, rate=rate: abs(finding.lrs[place] - rate))  # type: ignore[misc]
        axes.plot(finding.lrs[at], finding.losses[at], "o", color=f"C{color}", label=f"{way} {rate:.1e}")
    low, high = min(finding.losses), max(finding.losses[0] * TALLEST, finding.losses[0])
    axes.set(xscale="log", xlabel="learning rate of the last layer group", ylabel="smoothed training loss")
    if high > low:
        axes.set_ylim(low - 0.05 * (high - low), high)
    axes.legend()
    return figure
