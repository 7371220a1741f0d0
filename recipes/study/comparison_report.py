"""What the runs of a comparison show: means, paired gains with confidence intervals, a table and a picture."""

import math

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from ddnn_keras.atomic_write import atomic_write

CONFIDENCE = 0.95


def write(records, output):
    """Writes `table.md` and `accuracy.png` into the folder `output`.

    Args:
        records: A list of dicts, the runs of `results.json`.
        output: A `pathlib.Path`.
    """
    with atomic_write(output / "table.md") as temporary:
        temporary.write_text(table(records), encoding="utf-8")
    with atomic_write(output / "accuracy.png") as temporary:
        picture(records).savefig(temporary, dpi=120)


def table(records):
    """A Markdown table: for each depth and method, the accuracy and its gain over training alone and jointly."""
    split = split_of(records)
    seeds = {record["seed"] for record in records}
    lines = [
        f"Accuracy on the {split} split in %, mean ± standard deviation over seeds ({listed(seeds)}).",
        "Gains in points over the same depth trained alone, and jointly without distillation, each with the",
        f"{CONFIDENCE:.0%} confidence interval of its mean (Student's t, paired by seed); errors relative to alone.",
        "",
        "| depth | method | seeds | accuracy | gain over alone | errors | gain over joint |",
        "|---|---|---|---|---|---|---|",
    ]
    grouped = accuracies(records, split)
    for key in sorted({key for _, key in grouped}, key=lambda key: cost(records, key)):
        for method in methods(records):
            if (method, key) in grouped:
                lines.append(row(grouped, method, key))
    return "\n".join(lines + processors(records)) + "\n"


def processors(records):
    """Lines for below the table where a gain may be one of processors; none where all runs were on one."""
    found = {}
    order = methods(records)
    for record in sorted(records, key=lambda record: order.index(record["method"])):
        of_processor = found.setdefault(record.get("processor") or "one that was not recorded", {})
        of_processor.setdefault(record["method"], set()).add(record["seed"])
    if len(found) < 2:
        return []
    lines = ["", "Runs were on several processors, which can move an accuracy as another seed does:", ""]
    for processor, runs in found.items():
        lines.append(f"- {processor}: " + ", ".join(f"{method} ({listed(seeds)})" for method, seeds in runs.items()))
    return lines


def listed(seeds):
    """Seeds, for people."""
    return ", ".join(map(str, sorted(seeds)))


def row(grouped, method, key):
    """One line of the table."""
    values = list(grouped[method, key].values())
    alone, joint = (paired_gain(grouped, method, key, baseline) for baseline in ("alone", "joint"))
    errors = 100 - alone.baseline if alone else 0
    cells = [
        key.removeprefix("depth_"),
        method,
        str(len(values)),
        f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""),
        str(alone or ""),
        f"{(0 - alone.mean) / errors:+.1%}" if errors else "",
        str(joint or ""),
    ]
    return "| " + " | ".join(cells) + " |"


class Gain:
    """A mean of paired differences with its confidence interval.

    Pairs of one seed share images and initial weights, also those of two comparisons, so that each seed is one
    observation, the mean of its pairs' differences: the usual paired t interval, over seeds. One with more pairs does
    not weigh more: an interval of weighted seeds (CR1, Cameron and Miller, https://doi.org/10.3368/jhr.50.2.317) holds
    the mean 91 to 93 % of the time with four, four, four, one and one pairs of normal numbers, this one 95 to 96 %.

    Args:
        values: A number for each pair.
        baseline: What each is compared with.
        seeds: The seed of each.
    """

    def __init__(self, values, baseline, seeds):
        differences, seeds = np.subtract(values, baseline), np.asarray(seeds)
        self.baseline = float(np.mean(baseline))
        of_seeds = [np.mean(differences[seeds == seed]) for seed in np.unique(seeds)]
        self.mean = float(np.mean(of_seeds))
        self.half_width = math.nan
        if len(of_seeds) > 1:
            quantile = stats.t.ppf((1 + CONFIDENCE) / 2, len(of_seeds) - 1)
            self.half_width = float(quantile * stats.sem(of_seeds))

    def __str__(self):
        return with_interval(self.mean, self.half_width)


def with_interval(mean, half_width):
    """A mean in points and its confidence interval, unless that is not known."""
    if math.isnan(half_width):
        return f"{mean:+.2f}"
    return f"{mean:+.2f} [{mean - half_width:+.2f}, {mean + half_width:+.2f}]"


def paired_gain(grouped, method, key, baseline):
    """The `Gain` of a method over `baseline` at one depth, over the seeds that both have; `None` without any."""
    found = pairs(grouped, method, key, baseline)
    return Gain(*zip(*found)) if found and method != baseline else None


def pairs(grouped, method, key, baseline):
    """The accuracies of a method and of `baseline` at one depth, and the seed: a list, for each seed that both have."""
    ours, theirs = grouped.get((method, key), {}), grouped.get((baseline, key), {})
    return [(ours[seed], theirs[seed], seed) for seed in sorted(ours.keys() & theirs.keys())]


def accuracies(records, split):
    """Accuracies in %, by seed, of every method and depth: a dict from `(method, key)` to a dict from seeds."""
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


def cost(records, key):
    """The multiply-accumulates of one depth."""
    return next(record["validation"][key]["macs"] for record in records if key in record["validation"])


def tick(records, key):
    """What the axis says of one depth."""
    return f"{cost(records, key) / 1e6:,.1f} M\n{key.replace('_', ' ')}"


def picture(records):
    """Accuracy against multiply-accumulates: a line for each method, with the standard error of its means.

    Methods with a depth that one seed alone has tried are dashed: a single run says little.
    """
    split = split_of(records)
    grouped = accuracies(records, split)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    shown = methods(records)
    for index, method in enumerate(shown):
        keys = sorted((key for name, key in grouped if name == method), key=lambda key: cost(records, key))
        values = [list(grouped[method, key].values()) for key in keys]
        errors = [np.std(value, ddof=1) / math.sqrt(len(value)) if len(value) > 1 else 0 for value in values]
        # Side by side, or the bars would hide each other.
        shift = 1 + 0.012 * (index - (len(shown) - 1) / 2)
        macs = [shift * cost(records, key) / 1e6 for key in keys]
        means = [np.mean(value) for value in values]
        fewest, most = min(map(len, values)), max(map(len, values))
        style = {"linestyle": "-", "alpha": 1.0} if fewest > 1 else {"linestyle": "--", "alpha": 0.5}
        label = f"{method}, {most if fewest == most else f'{fewest} to {most}'} seed{'s' * (most > 1)}"
        axes.errorbar(macs, means, errors, marker="o", capsize=3, label=label, **style)
    depths = sorted({key for _, key in grouped}, key=lambda key: cost(records, key))
    axes.set_xscale("log")
    axes.set_xticks([], minor=True)
    axes.set_xticks([cost(records, key) / 1e6 for key in depths], [tick(records, key) for key in depths])
    axes.set(
        xlabel="multiply-accumulates of one image",
        ylabel=f"{split} accuracy in %",
        title="Mean over seeds, with its standard error",
    )
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure
