"""Shows what one way of training gains over another in every comparison: a table, and a picture of all intervals.

For example:

    python recipes/study/forest_plot.py recipes/results/cifar10_* recipes/results/fashion_mnist* --output .

A gain is the mean over seeds of paired differences, with its confidence interval (Student's t). It is about the test
split once all runs of a comparison were on it, and else about the validation split. A folder without such pairs is
left out.
"""

import pathlib

import numpy as np
from comparison_records import read_comparison
from comparison_report import accuracies, depth_costs, pairs, split_of
from intervals import CONFIDENCE, markdown_table, mean_gain

from ddnn_keras.atomic_write import write_figure
from ddnn_keras.backbones import family_named
from ddnn_keras.command_line import ArgumentParser, run

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("folders", nargs="+", metavar="FOLDER", help="what compare.py wrote")
add("--method", default="ekd", help="the method that gains: one of compare.py, or a variant in these folders")
add("--baseline", default="alone", help="over which method")
add("--output", help="folder for the picture, gains.png")


def main(arguments):
    comparisons = [read_comparison(pathlib.Path(folder)) for folder in arguments.folders]
    methods = arguments.method, arguments.baseline
    rows = [(settings(records, *methods), gains(records, *methods)) for records in comparisons]
    rows = [(of_run, of_depths) for of_run, of_depths in rows if of_depths]
    if not rows:
        received = " and ".join(methods)
        raise ValueError(f"--method and --baseline must be methods of one comparison. Received: {received}")
    keys = depth_costs([record for records in comparisons for record in records])
    keys = [key for key in keys if any(key in found for _, found in rows)]
    depths = [key.replace("_", " ") for key in keys]
    cells = [[*of_run.values(), *(str(found.get(key, "")) for key in keys)] for of_run, found in rows]
    print(markdown_table([*rows[0][0], *depths], cells))
    if arguments.output:
        estimates = {depth: [found.get(key) for _, found in rows] for depth, key in zip(depths, keys)}
        text = "{data set}, {images} images\nwidth {width}, {precision}, {epochs} epochs\n{split} split, {seeds} seeds"
        labels = [text.format(**of_run) for of_run, _ in rows]
        figure = interval_plot(labels, estimates, f"gain of {' over '.join(methods)}, in points")
        write_figure(pathlib.Path(arguments.output) / "gains.png", figure)


def gains(records, method, baseline):
    """The mean gain of a method at each depth: a dict, without the depths that have no pair of runs."""
    grouped = accuracies(records, split_of(records))
    found = {key: pairs(grouped, method, key, baseline) for _, key in grouped}
    return {key: mean_gain(both) for key, both in found.items() if both}


def settings(records, method, baseline):
    """What tells a comparison from others: a dict of strings."""
    arguments = records[0]["arguments"]
    ours, theirs = ([record for record in records if record["method"] == name] for name in (method, baseline))
    # A variant may have been trained for longer.
    epochs = dict.fromkeys(record["arguments"]["epochs"] for record in [*theirs, *ours])
    return {
        "data set": arguments["dataset"],
        "images": f"{arguments['train_images']:,}" if arguments["train_images"] else "all",
        "width": str(arguments["width"] or family_named(arguments["backbone"]).WIDTH),
        "precision": arguments["precision"],
        "epochs": " and ".join(map(str, epochs)),
        "split": split_of(records),
        "seeds": str(len({record["seed"] for record in ours} & {record["seed"] for record in theirs})),
    }


def interval_plot(rows, estimates, label):
    """A Matplotlib `Figure` with a group for each row, and a colour for each name.

    `estimates` is a dict from names to lists, with an `Estimate` or `None` for each row.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for position, (name, found) in enumerate(estimates.items()):
        height = 0.15 * (position - (len(estimates) - 1) / 2)
        known = [(row + height, one) for row, one in enumerate(found) if one]
        bars = np.nan_to_num([[one.mean - one.low, one.high - one.mean] for _, one in known]).T
        means, heights = [one.mean for _, one in known], [at for at, _ in known]
        axes.errorbar(means, heights, xerr=bars, fmt="o", capsize=3, label=name)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), rows, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel=label, title=f"{CONFIDENCE:.0%} confidence intervals")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside right upper")
    return figure


if __name__ == "__main__":
    run(main, parser)
