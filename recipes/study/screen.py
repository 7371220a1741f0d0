"""Screens settings of train.py: what each does to every depth's accuracy, all of them varied in the same few runs.

For example:

    python recipes/study/screen.py --backbone resnet_cifar --depths 8 20 --factor teacher "" "--teacher mean" --output s

A two-level design (https://www.itl.nist.gov/div898/handbook/pri/section3/pri334.htm): each factor has its first level
in half of the runs and its second in the others. Every pair of levels of two factors is as frequent as any other. So
all runs tell of all factors; varying one at a time would take the same number of runs for each. The first seed's runs
are a Hadamard matrix, the second's are its mirror image. So no effect is mixed up with how two factors act together,
which widens the intervals instead.

Each run is a process of train.py in OUTPUT/runs; a command that was stopped goes on where it was. OUTPUT/results.json
has every run; when all are done, table.md and effects.png show the effects, on the validation split.
"""

import itertools
import pathlib

import screening_report
from comparison_records import made_with
from comparison_runs import add_repetitions, parsed_flags, planned, trained_records

from ddnn_keras.command_line import ArgumentParser
from ddnn_keras.command_line import run as run_command
from ddnn_keras.runs.arguments import add_distillation, add_settings, check_depths, setting_flags


def argument_parser():
    """The command line: every setting of train.py, and what is varied."""
    parser = ArgumentParser(__doc__)
    add_settings(parser)
    parser.add_argument(
        "--factor",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "FLAGS", "FLAGS"),
        help="what is varied: two levels, as flags of train.py; the effect is that of the second; "
        "between a flag and its value is a blank, not =",
    )
    add_repetitions(parser, seeds=[0, 1])
    return parser


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
    varied = {}
    for name, *levels in factors:
        if name in varied:
            raise ValueError(f"--factor must have another name each time. Received twice: {name}")
        parsed = [
            parsed_flags(f"--factor {name}", flags, [add_settings, add_distillation], settings) for flags in levels
        ]
        (first, of_first), (second, of_second) = parsed
        if vars(first) == vars(second):
            raise ValueError(f"--factor {name} must have two different levels. Received: {levels[0]} and {levels[1]}")
        varied[name] = of_first | of_second
        # Effects are those on each depth, and all runs have the same images.
        if fixed := varied[name] & {"depths", "dataset"}:
            raise ValueError(f"--factor {name} must leave --{min(fixed)} as it is.")
    for one, other in itertools.combinations(varied, 2):
        for argument in sorted(varied[one] & varied[other]):
            flag = "--" + argument.replace("_", "-")
            raise ValueError(
                f"--factor {other} must not set {flag}, which --factor {one} does: one would undo the other."
            )


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
    """The levels of all factors in every run: a list of pairs of a seed and of a list of 0 or 1.

    Example:
    >>> design(2, [5, 6])[:4]
    [(5, [0, 0]), (5, [1, 0]), (5, [0, 1]), (5, [1, 1])]
    >>> design(2, [5, 6])[4:]
    [(6, [1, 1]), (6, [0, 1]), (6, [1, 0]), (6, [0, 0])]
    """
    from scipy.linalg import hadamard

    # Its first column is constant. Of the others, any two have each pair of signs equally often.
    signs = hadamard(1 << num_factors.bit_length())[:, 1 : num_factors + 1]
    return [(seed, [int(sign != (-1) ** index) for sign in row]) for index, seed in enumerate(seeds) for row in signs]


def check_records(records, runs, output):
    """Refuses to mix runs of different screenings."""
    import keras

    wanted = {run.name: {**run.arguments, "backend": keras.backend.backend()} for run in runs}
    for record in records:
        if wanted.get(record["name"]) != made_with(record):
            raise ValueError(
                f"--output {output} holds the run {record['name']}, which is not one of these factors, settings and "
                "seeds on this backend: choose another folder."
            )


if __name__ == "__main__":
    run_command(main, argument_parser())
