"""Shows what each part of EKD does on the mean over several comparisons, where one of them has too few seeds to tell.

For example:

    python recipes/study/gains.py recipes/results/fashion_mnist*

A pair is two runs of one comparison and one seed. Pairs of the same seed share images and initial weights, so that each
seed, the mean of its pairs, is one observation (see `comparison_report.Gain`); all pairs are taken for of one kind.
Where comparisons have different seeds, those with more of them weigh more: with `--seeds`, of all of them, none does.
`--split train` is the accuracy during the last epoch, on training images as they are varied: their fit.
"""

import pathlib

import comparison_report
from comparison_records import read_comparison
from comparison_report import Gain, pairs

from ddnn_keras.command_line import ArgumentParser, non_negative_integer, run

# What is compared with what, where both are in a comparison.
PAIRS = [("joint", "alone"), ("kl", "joint"), ("attention", "joint"), ("ekd", "kl"), ("ekd", "joint"), ("ekd", "alone")]


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="what compare.py wrote, with the same depths")
    splits = ["train", "validation", "test"]
    add("--split", default="validation", choices=splits, help="runs that were not on it are left out")
    add("--seeds", type=non_negative_integer, nargs="+", help="runs of others are left out; by default none")
    return parser


def main(arguments):
    """Prints the table."""
    folders = [pathlib.Path(folder) for folder in arguments.folders]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(
            f"FOLDER must not repeat: its pairs would count twice. Received: {' '.join(arguments.folders)}"
        )
    comparisons = {folder: records_of(folder, arguments.split) for folder in folders}
    if not any(comparisons.values()):
        raise ValueError(f"--split must be one that runs were on. Received: {arguments.split}")
    if arguments.seeds:
        comparisons = of_seeds(comparisons, arguments.seeds)
    check_depths(comparisons)
    print(table(list(comparisons.values()), arguments.split))


def records_of(folder, split):
    """The runs of a comparison that were on this split."""
    return [record for record in read_comparison(folder) if split in record]


def of_seeds(comparisons, seeds):
    """The runs of these seeds; a `ValueError` where there are none of one of them."""
    found = {record["seed"] for records in comparisons.values() for record in records}
    if absent := [seed for seed in seeds if seed not in found]:
        raise ValueError(f"--seeds must be ones that runs have. Received: {', '.join(map(str, absent))}")
    return {
        folder: [record for record in records if record["seed"] in seeds] for folder, records in comparisons.items()
    }


def check_depths(comparisons):
    """Raises a `ValueError` unless all networks of several depths have the same: what teaches is another in others.

    Args:
        comparisons: A dict from folders to lists of records.
    """
    found = {
        tuple(record["depths"]): folder
        for folder, records in comparisons.items()
        for record in records
        if record["method"] != "alone"
    }
    if len(found) > 1:
        received = " and ".join(f"{', '.join(map(str, depths))} in {folder}" for depths, folder in found.items())
        raise ValueError(f"FOLDER must have the depths of the others. Received: {received}")


def table(comparisons, split):
    """A Markdown table: for each pair of methods, the mean gain at each depth, and how many pairs and seeds it is from.

    Args:
        comparisons: A list of lists of records, as in `results.json`.
        split: `"validation"`, `"test"`, or `"train"`, the training images as they are varied during the last epoch.
    """
    all_records = [record for records in comparisons for record in records]
    keys = {key for record in all_records for key in record[split]}
    keys = sorted(keys, key=lambda key: comparison_report.cost(all_records, key))
    names = [f"gain in points on the {split} split", "pairs", "seeds", *(key.replace("_", " ") for key in keys)]
    lines = [names, ["---"] * len(names)]
    grouped = [comparison_report.accuracies(records, split) for records in comparisons]
    for method, baseline in PAIRS:
        pooled = [[pair for each in grouped for pair in pairs(each, method, key, baseline)] for key in keys]
        if any(pooled):
            lines.append([f"{method} over {baseline}", *counts(pooled), *(str(gain(found)) for found in pooled)])
    if not lines[2:]:
        methods = ", ".join(f"{method} over {baseline}" for method, baseline in PAIRS)
        raise ValueError(f"FOLDER must hold two methods of a comparison: {methods}.")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def counts(pooled):
    """How many pairs and how many seeds there are at each depth, said once where depths agree: two strings."""
    numbers = [(len(found), len({seed for *_, seed in found})) for found in pooled]
    return [" ".join(map(str, dict.fromkeys(of_depths))) for of_depths in zip(*numbers)]


def gain(found):
    """The `Gain` of pairs, or nothing to say without any."""
    return Gain(*zip(*found)) if found else ""


if __name__ == "__main__":
    run(main, argument_parser())
