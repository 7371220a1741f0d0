"""Shows what each part of EKD does on the mean over several comparisons, where one of them has too few seeds to tell.

For example:

    python recipes/study/gains.py recipes/results/fashion_mnist*

A pair is two runs of one comparison and one seed. Each seed, the mean of its pairs, is one observation. Comparisons
with more seeds weigh more; with `--seeds`, of seeds that all have, none does. `--split train` is the accuracy during
the last epoch, on training images as they are varied. With `--alone`, depths are compared with those that another
comparison trained alone, for example at a learning rate that is better for them.
"""

import pathlib

from comparison_records import read_comparison
from comparison_report import accuracies, depth_costs, pairs
from intervals import markdown_table, mean_gain

from ddnn_keras.command_line import ArgumentParser, non_negative_integer, run

# What is compared with what, where both are in a comparison.
PAIRS = [
    ("joint", "alone"),
    ("kl", "joint"),
    ("kl", "alone"),
    ("attention", "joint"),
    ("ekd", "kl"),
    ("ekd", "joint"),
    ("ekd", "alone"),
]

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("folders", nargs="+", metavar="FOLDER", help="what compare.py wrote, with the same depths")
splits = ["train", "validation", "test"]
add("--split", default="validation", choices=splits, help="runs that were not on it are left out")
add("--seeds", type=non_negative_integer, nargs="+", help="runs of others are left out; by default none")
add("--alone", metavar="FOLDER", help="a comparison; its runs alone take the place of those of the others")


def main(arguments):
    # A folder that two patterns match counts once.
    folders = dict.fromkeys(pathlib.Path(folder).resolve() for folder in arguments.folders)
    comparisons = [read_comparison(folder) for folder in folders]
    if arguments.alone:
        alone = [record for record in read_comparison(pathlib.Path(arguments.alone)) if record["method"] == "alone"]
        comparisons = [[*alone, *(record for record in found if record["method"] != "alone")] for found in comparisons]
    comparisons = [[record for record in found if arguments.split in record] for found in comparisons]
    records = [record for comparison in comparisons for record in comparison]
    if not records:
        raise ValueError(f"--split must be one that runs were on. Received: {arguments.split}")
    depths = {tuple(record["depths"]) for record in records if record["method"] != "alone"}
    if len(depths) > 1:
        raise ValueError(
            f"FOLDER must have the depths of the others. Received: {' and '.join(map(str, sorted(depths)))}"
        )
    if arguments.seeds:
        comparisons = [[record for record in found if record["seed"] in arguments.seeds] for found in comparisons]
    print(table(comparisons, arguments.split))


def table(comparisons, split):
    """A Markdown table: the mean gain of each pair of methods at each depth, and how many pairs and seeds there are."""
    keys = depth_costs([record for records in comparisons for record in records])
    grouped = [accuracies(records, split) for records in comparisons]
    rows = []
    for method, baseline in PAIRS:
        pooled = [[pair for each in grouped for pair in pairs(each, method, key, baseline)] for key in keys]
        if any(pooled):
            gains = [str(mean_gain(found)) if found else "" for found in pooled]
            rows.append([f"{method} over {baseline}", *counts(pooled), *gains])
    depths = [key.replace("_", " ") for key in keys]
    return markdown_table([f"gain in points on the {split} split", "pairs", "seeds", *depths], rows)


def counts(pooled):
    """How many pairs and how many seeds there are at each depth, said once where depths agree: two strings."""
    numbers = [(len(found), len({seed for *_, seed in found})) for found in pooled]
    return [" ".join(map(str, dict.fromkeys(of_depths))) for of_depths in zip(*numbers)]


if __name__ == "__main__":
    run(main, parser)
