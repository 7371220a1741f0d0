"""What the runs of a comparison show: accuracies, paired gains with confidence intervals, a table and a picture."""

import numpy as np
from intervals import CONFIDENCE, markdown_table, mean_gain

from ddnn_keras.atomic_write import atomic_write, write_figure

COLUMNS = ["depth", "method", "seeds", "accuracy", "gain over alone", "errors", "gain over joint"]


def write(records, output):
    """Writes `table.md` and `accuracy.png` into the folder `output`, a `pathlib.Path`."""
    with atomic_write(output / "table.md") as temporary:
        temporary.write_text(table(records), encoding="utf-8")
    write_figure(output / "accuracy.png", picture(records))


def table(records):
    """A Markdown table: for each depth and method, the accuracy and its gains."""
    split = split_of(records)
    grouped = accuracies(records, split)
    keys = [(method, key) for key in depth_costs(records) for method in methods(records) if (method, key) in grouped]
    seeds = ", ".join(map(str, sorted({record["seed"] for record in records})))
    heading = f"""Accuracy on the {split} split in %, mean ± standard deviation over seeds ({seeds}).
Gains in points over the same depth trained alone, and jointly without distillation, each with the
{CONFIDENCE:.0%} confidence interval of its mean (Student's t, paired by seed); errors relative to alone.
"""
    rows = [row(grouped, method, key) for method, key in keys]
    return f"{heading}\n{markdown_table(COLUMNS, rows)}\n"


def row(grouped, method, key):
    """The cells of one line of the table."""
    values = list(grouped[method, key].values())
    alone, joint = (pairs(grouped, method, key, baseline) for baseline in ("alone", "joint"))
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    errors = ""
    if alone and (before := 100 - np.mean([baseline for _, baseline, _ in alone])):
        errors = f"{(0 - mean_gain(alone).mean) / before:+.1%}"
    gains = [str(mean_gain(found)) if found else "" for found in (alone, joint)]
    name = key.removeprefix("depth_")
    return [name, method, str(len(values)), f"{np.mean(values):.2f}{spread}", gains[0], errors, gains[1]]


def pairs(grouped, method, key, baseline):
    """The runs of both methods that share a seed: a list of (accuracy, accuracy of `baseline`, seed)."""
    if method == baseline:
        return []
    ours, theirs = grouped.get((method, key), {}), grouped.get((baseline, key), {})
    return [(ours[seed], theirs[seed], seed) for seed in sorted(ours.keys() & theirs.keys())]


def accuracies(records, split):
    """Accuracies in % of every method and depth: a dict from `(method, key)` to a dict from seeds."""
    grouped = {}
    for record in records:
        for key, metrics in record[split].items():
            grouped.setdefault((record["method"], key), {})[record["seed"]] = 100 * metrics["accuracy"]
    return grouped


def split_of(records):
    """The test split, once all runs have been evaluated on it."""
    return "test" if all("test" in record for record in records) else "validation"


def methods(records):
    """The methods in the order of the table: the usual five, then variants by name."""
    usual = ["alone", "joint", "kl", "attention", "ekd"]
    found = {record["method"] for record in records}
    return [method for method in usual if method in found] + sorted(found - set(usual))


def depth_costs(records):
    """The multiply-accumulates of all depths in the first record of each, the cheapest first: a dict from keys."""
    found = {key: row["macs"] for record in reversed(records) for key, row in record["validation"].items()}
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def picture(records):
    """Accuracy against multiply-accumulates: a line for each method, through the means over seeds."""
    from matplotlib.figure import Figure
    from scipy import stats

    split, costs = split_of(records), depth_costs(records)
    grouped = accuracies(records, split)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for method in methods(records):
        found = {costs[key] / 1e6: list(grouped[method, key].values()) for key in costs if (method, key) in grouped}
        means = [np.mean(values) for values in found.values()]
        errors = [stats.sem(values) for values in found.values()]  # NaN of a single seed
        label = f"{method}, seeds: {max(map(len, found.values()))}"
        axes.errorbar(list(found), means, errors, marker="o", capsize=3, label=label)
    axes.set(xscale="log", xlabel="multiply-accumulates of an image, millions", ylabel=f"{split} accuracy in %")
    axes.set_xticks([macs / 1e6 for macs in costs.values()], [f"{macs / 1e6:,.1f}" for macs in costs.values()])
    axes.set_title("Mean over seeds, with its standard error")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure
