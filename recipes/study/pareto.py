"""Draws accuracy against cost for many combinations of blocks from one training.

For example:

    python recipes/study/pareto.py --run recipes/results/fashion_mnist_6000/runs/ekd_8-14-20_seed0 --output pareto

Each combination of blocks per stage is a sub-net; those that were not trained get the statistics of their batch
normalisation from training images. OUTPUT.json has every one, OUTPUT.png shows them.
"""

import itertools
import os

import numpy as np

from ddnn_keras.atomic_write import write_figure, write_json
from ddnn_keras.command_line import ArgumentParser, positive_integer, print_table, run

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("--run", help="the directory of a finished run; by default the newest in runs/")
number = "how many, from few blocks to many, the trained too"
add("--combinations", type=positive_integer, default=30, help=number)
add("--calibration-images", type=positive_integer, default=500, help="training images for the statistics")
add("--evaluate-on", default="validation", choices=["validation", "test"], help="the split that accuracy is about")
add("--output", default="pareto", help="the name of the .json and .png files")


def main(arguments):
    """Evaluates the trained depths and other combinations, and writes the table and the picture."""
    from ddnn_keras.runs.checkpoint import load_network
    from ddnn_keras.runs.earlier_runs import finished_run, images_of_runs

    if not os.path.basename(arguments.output).strip("."):
        raise ValueError(f"--output must be a name for files, not a folder. Received: {arguments.output}")
    run_directory, saved = finished_run(arguments.run)
    network = load_network(run_directory.model)
    # Before the data is read, since some families have no other sub-nets than the trained.
    subnets = {blocks: network.subnet(blocks) for blocks in combinations(network, arguments.combinations)}
    images = images_of_runs([run_directory])
    statistics_from = images.calibration_images(min(arguments.calibration_images, images.num_train))
    split = {"validation": images.validation, "test": images.test}[arguments.evaluate_on]
    points = []
    for blocks, subnet in subnets.items():
        if blocks not in network.depths.values():
            network.calibrate(statistics_from, blocks)
        points.append(point(network, blocks, subnet, split(saved.batch_size)))
        print(f"{blocks}: {points[-1]['accuracy']:.2%}", flush=True)
    mark_best(points)
    rows = [
        [one["blocks"], one["trained"], f"{one['accuracy']:.2%}", f"{one['macs']:,}", one["best_at_its_cost"]]
        for one in sorted(points, key=lambda one: one["macs"])
    ]
    print_table(["blocks", "trained", "accuracy", "MACs", "best at its cost"], rows)
    content = {"run": run_directory.path.name, "split": arguments.evaluate_on, "points": points}
    write_json(f"{arguments.output}.json", content)
    write_figure(f"{arguments.output}.png", picture(points, arguments.evaluate_on))
    print(f"Table: {arguments.output}.json")


def combinations(network, number):
    """The trained depths, and others between the shallowest and the deepest, a list with the fewest blocks first."""
    trained = list(network.depths.values())
    ranges = [range(few, many + 1) for few, many in zip(trained[0], trained[-1])]
    others = sorted(set(itertools.product(*ranges)) - set(trained), key=lambda blocks: (sum(blocks), blocks))
    wanted = min(len(others), max(0, number - len(trained)))
    chosen = np.linspace(0, len(others) - 1, wanted).round().astype(int)
    return sorted({*trained, *(others[index] for index in chosen)}, key=lambda blocks: (sum(blocks), blocks))


def point(network, blocks, subnet, batches):
    """What a combination costs, and the fraction of images that it classifies correctly."""
    from keras import ops

    from ddnn_keras.network.cost import count_macs, count_parameters

    logits = [(ops.convert_to_numpy(subnet(images, training=False)), labels) for images, labels in batches]
    right = [found.argmax(-1) == np.asarray(labels) for found, labels in logits]
    return {
        "blocks": blocks,
        "trained": blocks in network.depths.values(),
        "accuracy": float(np.mean(np.concatenate(right))),
        "macs": count_macs(subnet),
        "parameters": count_parameters(subnet),
    }


def mark_best(points):
    """Notes for each point whether none with at most its cost is more accurate."""
    for one in points:
        cheaper = [other["accuracy"] for other in points if other["macs"] <= one["macs"]]
        one["best_at_its_cost"] = one["accuracy"] == max(cheaper)


def picture(points, split):
    """Accuracy against multiply-accumulates."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for trained, label, style in ((False, "calibrated", "o"), (True, "trained", "r*")):
        axes.plot(*costs_and_accuracies([one for one in points if one["trained"] == trained]), style, label=label)
    best = sorted((one for one in points if one["best_at_its_cost"]), key=lambda one: one["macs"])
    axes.step(*costs_and_accuracies(best), where="post", color="grey", lw=1)
    axes.set(xlabel="multiply-accumulates of an image, millions", ylabel=f"{split} accuracy, %")
    axes.legend()
    return figure


def costs_and_accuracies(points):
    """Two lists for the axes of the picture."""
    return [one["macs"] / 1e6 for one in points], [100 * one["accuracy"] for one in points]


if __name__ == "__main__":
    run(main, parser)
