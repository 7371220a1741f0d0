"""What a screening shows: the effect of every factor at each depth, as a table and a picture."""

import numpy as np
from intervals import CONFIDENCE, Estimate, interval_plot
from markdown_table import markdown_table

from ddnn_keras.atomic_write import atomic_write, write_figure


def write(records, factors, output):
    """Writes `table.md` and `effects.png`."""
    with atomic_write(output / "table.md") as temporary:
        temporary.write_text(table(records, factors), encoding="utf-8")
    rows = [f"{name}\n{first or 'as given'}\nto {second or 'as given'}" for name, first, second in factors]
    figure = interval_plot(rows, effects(records), "effect on validation accuracy, in points")
    write_figure(output / "effects.png", figure)


def table(records, factors):
    """A Markdown table: a line for each factor, its effect on the accuracy of each depth and on their mean."""
    found = effects(records)
    heading = f"""{len(records)} runs. What the second level does to validation accuracy, in points, with its \
{CONFIDENCE:.0%}
confidence interval (least squares over all factors and seeds, Student's t).
"""
    rows = []
    for index, (name, *levels) in enumerate(factors):
        flags = [f"`{level}`" if level else "as given" for level in levels]
        rows.append([name, *flags, *(str(one[index]) for one in found.values())])
    return f"{heading}\n{markdown_table(['factor', 'from', 'to', *found], rows)}\n"


def effects(records):
    """The effect of each factor on the accuracy of each depth and on their mean: a dict of lists of `Estimate`."""
    found = {
        key.replace("_", " "): np.array([100 * record["validation"][key]["accuracy"] for record in records])
        for key in records[0]["validation"]
    }
    found["mean"] = np.mean(list(found.values()), axis=0)
    return {name: estimated(records, values) for name, values in found.items()}


def estimated(records, values):
    """The effect of each factor on `values`, one for each record: least squares, with a constant for each seed."""
    from scipy import stats

    seeds = sorted({record["seed"] for record in records})
    constants = np.array([[record["seed"] == seed for seed in seeds] for record in records], float)
    matrix = np.hstack([np.array([record["levels"] for record in records], float), constants])
    solution, *_ = np.linalg.lstsq(matrix, values)
    freedom = len(records) - matrix.shape[1]
    variance = np.sum((values - matrix @ solution) ** 2) / freedom
    errors = np.sqrt(variance * np.diag(np.linalg.inv(matrix.T @ matrix)))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * errors
    found = [Estimate(*ends) for ends in zip(solution, solution - half, solution + half)]
    return found[: len(records[0]["levels"])]
