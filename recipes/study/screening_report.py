"""What a screening shows: the effect of every factor at each depth, as a table and a picture."""

import dataclasses
import math

import numpy as np
from comparison_report import CONFIDENCE, with_interval
from intervals import interval_plot
from scipy import stats

from ddnn_keras.atomic_write import atomic_write


def write(records, factors, output):
    """Writes `table.md` and `effects.png` into the folder `output`.

    Args:
        records: A list of dicts, the runs of `results.json`.
        factors: A list of a name and of two levels for each factor, in the order of the records' levels.
        output: A `pathlib.Path`.
    """
    with atomic_write(output / "table.md") as temporary:
        temporary.write_text(table(records, factors), encoding="utf-8")
    with atomic_write(output / "effects.png") as temporary:
        picture(records, factors).savefig(temporary, dpi=120)


def table(records, factors):
    """A Markdown table: a line for each factor, its effect on the accuracy of each depth and on their mean."""
    effects = {name: estimated(records, values) for name, values in accuracies(records).items()}
    lines = [
        f"{len(records)} runs. What the second level does to validation accuracy, in points, with its {CONFIDENCE:.0%}",
        "confidence interval (least squares over all factors and seeds, Student's t).",
        "",
        "| factor | from | to | " + " | ".join(effects) + " |",
        "|---|---|---|" + "---|" * len(effects),
    ]
    for index, (name, *levels) in enumerate(factors):
        cells = [name, *(f"`{flags}`" if flags else "as given" for flags in levels)]
        cells += [str(found[index]) for found in effects.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def accuracies(records):
    """The accuracy in % of each depth in every run, and their mean: a dict from names to arrays."""
    keys = list(records[0]["validation"])
    found = {
        key.replace("_", " "): np.array([100 * record["validation"][key]["accuracy"] for record in records])
        for key in keys
    }
    return {**found, "mean": np.mean(list(found.values()), axis=0)}


@dataclasses.dataclass
class Effect:
    """An estimate with the half of its confidence interval's width, which is NaN where too few runs are done."""

    mean: float
    half_width: float

    def __str__(self):
        return with_interval(self.mean, self.half_width)


def estimated(records, values):
    """The `Effect` of each factor: least squares, with a constant for each seed."""
    seeds = sorted({record["seed"] for record in records})
    constants = np.array([[record["seed"] == seed for seed in seeds] for record in records], float)
    matrix = np.hstack([np.array([record["levels"] for record in records], float), constants])
    solution, *_ = np.linalg.lstsq(matrix, values)
    freedom = len(records) - np.linalg.matrix_rank(matrix)
    variance = np.sum((values - matrix @ solution) ** 2) / freedom if freedom else math.nan
    errors = np.sqrt(variance * np.diag(np.linalg.pinv(matrix.T @ matrix)))
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) if freedom else math.nan
    return [Effect(*pair) for pair in zip(solution, quantile * errors)][: matrix.shape[1] - len(seeds)]


def picture(records, factors):
    """The effects and their confidence intervals: a group for each factor, a colour for each depth."""
    rows = [f"{name}\n{first or 'as given'}\nto {second or 'as given'}" for name, first, second in factors]
    effects = {name: estimated(records, values) for name, values in accuracies(records).items()}
    return interval_plot(rows, effects, "effect on validation accuracy, in points")
