"""Screens settings of train.py: what each does to every depth's accuracy, all of them varied in the same few runs.

For example:

    python recipes/study/screen.py --backbone resnet_cifar --depths 8 20 --factor teacher "" "--teacher mean" --output s

A two-level design (https://www.itl.nist.gov/div898/handbook/pri/section3/pri334.htm): each factor has its first level
in half of the runs, and every pair of levels of two factors is as frequent as any other. So all runs tell of all
factors. The first seed's runs are a Hadamard matrix and the second's its mirror image. So how two factors act together
is mixed up with no effect; it widens the intervals instead.

Each run is a process of train.py in OUTPUT/runs, and a command that was stopped goes on where it was. OUTPUT has
results.json with every run, and in the end table.md and effects.png, on the validation split.
"""

import pathlib

import screening_report
from comparison_records import made_with
from comparison_runs import add_repetitions, parsed_flags, planned, trained_records

from ddnn_keras.command_line import ArgumentParser, run
from ddnn_keras.runs.arguments import DISTILLATION, SETTINGS, add_flags, check_depths, setting_flags

parser = ArgumentParser(__doc__)
add_flags(parser, SETTINGS)
factor = "two levels of what is varied, as flags of train.py; between a flag and its value is a blank, not ="
names = ("NAME", "FLAGS", "FLAGS")
parser.add_argument("--factor", nargs=3, action="append", required=True, metavar=names, help=factor)
add_repetitions(parser, seeds=[0, 1])


def main(arguments):
    """Trains what is missing, and writes the report when all runs are done."""
    check_depths(arguments, at_least=2)
    check_factors(arguments.factor, [*setting_flags(arguments), "--depths", *map(str, arguments.depths)])
    if len(arguments.seeds) % 2 or len(set(arguments.seeds)) < len(arguments.seeds):
        received = " ".join(map(str, arguments.seeds))
        raise ValueError(f"--seeds must be an even number of different ones. Received: {received}")
    *_, records = trained_records(plan(arguments), arguments, check_records)
    screening_report.write(records, arguments.factor, pathlib.Path(arguments.output))
    print(screening_report.table(records, arguments.factor))


def check_factors(factors, settings):
    """Raises a `ValueError` unless each factor has two different levels of what no other factor sets."""
    owners = {}
    for name, *levels in factors:
        option = f"--factor {name}"
        allowed = [*SETTINGS, *DISTILLATION, "teacher_epochs"]
        (first, of_first), (second, of_second) = (parsed_flags(option, flags, allowed, settings) for flags in levels)
        if vars(first) == vars(second):
            raise ValueError(f"{option} must have two different levels. Received: {levels[0]} and {levels[1]}")
        for argument in sorted(of_first | of_second):
            flag = "--" + argument.replace("_", "-")
            # Effects are those on each depth, and all runs have the same images.
            if argument in ("depths", "dataset"):
                raise ValueError(f"{option} must leave {flag} as it is.")
            if argument in owners:
                raise ValueError(f"{option} must not set {flag}, which {owners[argument]} does.")
            owners[argument] = option


def plan(arguments):
    """Every run, with the levels of all factors."""
    settings, depths = setting_flags(arguments), tuple(arguments.depths)
    runs = []
    for seed, levels in design(len(arguments.factor), arguments.seeds):
        flags = " ".join(factor[1 + level] for factor, level in zip(arguments.factor, levels))
        name = "levels" + "".join(map(str, levels))
        runs.append(planned(name, depths, seed, settings, flags, tuple(levels)))
    return runs


def design(num_factors, seeds):
    """The levels of all factors in every run: a list of pairs of a seed and of a list of 0 or 1."""
    from scipy.linalg import hadamard

    # Its first column is constant. Of the others, any two have each pair of signs equally often.
    signs = hadamard(1 << num_factors.bit_length())[:, 1 : num_factors + 1]
    return [(seed, [int(sign != (-1) ** index) for sign in row]) for index, seed in enumerate(seeds) for row in signs]


def check_records(records, runs, output):
    """Refuses to mix runs of different screenings."""
    import keras

    wanted = {one.name: {**one.arguments, "backend": keras.backend.backend()} for one in runs}
    for record in records:
        if wanted.get(record["name"]) != made_with(record):
            raise ValueError(
                f"--output {output} holds the run {record['name']}, which is not one of these factors, settings and "
                "seeds on this backend: choose another folder."
            )


if __name__ == "__main__":
    run(main, parser)
