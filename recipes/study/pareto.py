"""Draws accuracy against cost for many combinations of blocks from one training.

For example:

    python recipes/study/pareto.py --run recipes/results/fashion_mnist_6000/runs/ekd_8-14-20_seed0 --output pareto

Each combination of blocks per stage is a sub-net; those that were not trained get the statistics of their batch
normalisation from training images. OUTPUT.json has every one, OUTPUT.png shows them.
"""

import itertools
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.network.cost import count_macs, count_parameters
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.earlier_runs import finished_run, images_of_run


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--run", help="the directory of a finished run; by default the newest in runs/")
    add(
        "--combinations",
        type=positive_integer,
        default=30,
        help="how many, from few blocks to many, the trained too",
    )
    add("--calibration-images", type=positive_integer, default=500, help="training images for the statistics")
    add("--evaluate-on", default="validation", choices=["validation", "test"], help="the split that accuracy is about")
    add("--output", default="pareto", help="the name of the .json and .png files")
    return parser


def main(arguments):
    """Evaluates the trained depths and other combinations."""
    if not os.path.basename(arguments.output).strip("."):
        raise ValueError(f"--output must be a name for files, not a folder. Received: {arguments.output}")
    run_directory, saved = finished_run(arguments.run)
    network = load_network(run_directory.model)
    # Before the data is read, since some families have no other sub-nets than the trained.
    subnets = {blocks: network.subnet(blocks) for blocks in combinations(network, arguments.combinations)}
    images = images_of_run(run_directory, saved)
    statistics_from = images.calibration_images(min(arguments.calibration_images, images.num_train))
    split = {"validation": images.validation, "test": images.test}[arguments.evaluate_on]
    points = []
    for blocks, subnet in subnets.items():
        trained = blocks in network.depths.values()
        if not trained:
            network.calibrate(statistics_from, blocks)
        points.append(
            {
                "blocks": blocks,
                "trained": trained,
                "accuracy": accuracy(subnet, split(saved.batch_size)),
                "macs": count_macs(subnet),
                "parameters": count_parameters(subnet),
            }
        )
        print(f"{blocks}: {points[-1]['accuracy']:.2%}", flush=True)
    mark_best(points)
    print_table(points)
    write(points, run_directory, arguments)


def combinations(network, number):
    """The trained depths, and others between the shallowest and the deepest, a list with the fewest blocks first."""
    trained = list(network.depths.values())
    ranges = [range(few, many + 1) for few, many in zip(trained[0], trained[-1])]
    others = sorted(set(itertools.product(*ranges)) - set(trained), key=lambda blocks: (sum(blocks), blocks))
    wanted = min(len(others), max(0, number - len(trained)))
    chosen = np.linspace(0, len(others) - 1, wanted).round().astype(int)
    return sorted({*trained, *(others[index] for index in chosen)}, key=lambda blocks: (sum(blocks), blocks))


def accuracy(subnet, batches):
    """The fraction of images that a sub-net classifies correctly."""
    right = [
        keras.ops.convert_to_numpy(subnet(images, training=False)).argmax(-1) == np.asarray(labels)
        for images, labels in batches
    ]
    return float(np.mean(np.concatenate(right)))


def mark_best(points):
    """Notes for each point whether none with at most its cost is more accurate."""
    for point in points:
        cheaper = [other["accuracy"] for other in points if other["macs"] <= point["macs"]]
        point["best_at_its_cost"] = point["accuracy"] == max(cheaper)


def print_table(points):
    """The points, for people, the cheapest first."""
    table = Table("blocks", "trained", "accuracy", "MACs", "parameters", "best at its cost")
    for point in sorted(points, key=lambda point: point["macs"]):
        table.add_row(
            str(point["blocks"]),
            "yes" if point["trained"] else "",
            f"{point['accuracy']:.2%}",
            f"{point['macs'] / 1e6:,.1f} M",
            f"{point['parameters']:,}",
            "yes" if point["best_at_its_cost"] else "",
        )
    Console().print(table)


def write(points, run_directory, arguments):
    """The points as JSON and as a picture."""
    content = {"run": run_directory.path.name, "split": arguments.evaluate_on, "points": points}
    path = pathlib.Path(f"{arguments.output}.json")
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    draw(points, path.with_name(f"{path.stem}.png"), arguments.evaluate_on)
    print(f"Table: {path}")


def draw(points, path, split):
    """Accuracy against multiply-accumulates."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for trained, label, marker in ((False, "calibrated", "o"), (True, "trained", "*")):
        shown = [point for point in points if point["trained"] == trained]
        size = 12 if trained else 5
        costs, accuracies = [p["macs"] / 1e6 for p in shown], [100 * p["accuracy"] for p in shown]
        axes.plot(costs, accuracies, marker, markersize=size, label=label)
    best = sorted((point for point in points if point["best_at_its_cost"]), key=lambda point: point["macs"])
    axes.step([p["macs"] / 1e6 for p in best], [100 * p["accuracy"] for p in best], where="post", color="grey", lw=1)
    axes.set(xlabel="multiply-accumulates of an image, millions", ylabel=f"{split} accuracy, %")
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


if __name__ == "__main__":
    run(main, argument_parser())
