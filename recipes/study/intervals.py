"""A picture of estimates with their confidence intervals, around zero: a group for each row, a colour for each name."""

import numpy as np
from comparison_report import CONFIDENCE
from matplotlib.figure import Figure


def interval_plot(rows, estimates, label):
    """Draws what effects or gains are.

    Args:
        rows: A list of strings, one for each group.
        estimates: A dict from names to lists with an estimate for each row, with `mean` and `half_width` (NaN
            where no interval is known), or `None` where there is none.
        label: What the estimates are, with their unit.

    Returns:
        A Matplotlib `Figure`.
    """
    figure = Figure(figsize=(9, 1 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, (name, found) in enumerate(estimates.items()):
        height = 0.15 * (position - (len(estimates) - 1) / 2)
        shown = [(row + height, one.mean, one.half_width) for row, one in enumerate(found) if one]
        heights, means, widths = zip(*shown)
        axes.errorbar(means, heights, xerr=np.nan_to_num(widths), fmt="o", capsize=3, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=f"{CONFIDENCE:.0%} confidence intervals")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure
