"""Screens settings of train.py: what each does to every depth's accuracy, all of them varied in the same few runs.

For example:

    python recipes/study/screen.py --backbone resnet_cifar --depths 8 20 --factor teacher "" "--teacher mean" --output s

A two-level design (https://www.itl.nist.gov/div898/handbook/pri/section3/pri334.htm): each factor has its first level
in half of the runs and its second in the others, and so that every pair of levels of two factors is as frequent as
any other. So all runs tell of all factors, where varying one at a time would take the same number of runs for each.
The first seed's runs are a Hadamard matrix, the second's are its mirror image: then no effect is mixed up with how two
factors act together, which widens the intervals instead.

Each run is a process of train.py in OUTPUT/runs; a command that was stopped goes on where it was. OUTPUT/results.json
has every run; when all are done, table.md and effects.png show the effects, on the validation split.
"""

import argparse
import itertools
import pathlib
import shlex

import keras
import screening_report
from comparison_records import read_records, write_records
from comparison_runs import Run, begun_records, finished, recorded
from scipy.linalg import hadamard

from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer
from ddnn_keras.command_line import run as run_command
from ddnn_keras.data.fingerprint import check_data, fingerprint
from ddnn_keras.runs import trainer
from ddnn_keras.runs.arguments import (
    add_distillation,
    add_settings,
    check_depths,
    check_effect,
    load_images,
    setting_flags,
)
from ddnn_keras.runs.folder_lock import one_at_a_time


def argument_parser():
    """The command line: every setting of train.py, and what is varied."""
    parser = ArgumentParser(__doc__)
    add_settings(parser)
    add = parser.add_argument
    add(
        "--factor",
        nargs=3,
        action="append",
        required=True,
        metavar=("NAME", "FLAGS", "FLAGS"),
        help="what is varied: two levels, as flags of train.py; the effect is that of the second; "
        "between a flag and its value is a blank, not =",
    )
    add("--seeds", type=non_negative_integer, nargs="+", default=[0, 1], help="the repetitions, an even number")
    add(
        "--jobs",
        type=positive_integer,
        default=1,
        help="trainings at a time; they share the cores (TensorFlow), or a GPU",
    )
    add("--output", required=True, help="folder for results, table and picture; one that exists is gone on with")
    return parser


def main(arguments):
    """Does what is left to do, keeps every run, and writes the report when all are done."""
    output = pathlib.Path(arguments.output)
    check_depths(arguments, at_least=2)
    check_factors(arguments.factor, [*setting_flags(arguments), "--depths", *map(str, arguments.depths)])
    check_seeds(arguments.seeds)
    runs = plan(arguments)
    levels = {run.name: levels for run, levels in runs}
    images = load_images(argparse.Namespace(**{**vars(arguments), "seed": 0}))
    with one_at_a_time(output):
        records = {record["name"]: record for record in read_records(output)}
        planned = [run for run, _ in runs]
        check_records([*records.values(), *begun_records(output, planned)], planned, output)
        data = fingerprint(images)
        check_data(records.values(), data, arguments)
        todo = [run for run, _ in runs if run.name not in records]
        print(f"{len(runs) - len(todo)} of {len(runs)} runs are done.", flush=True)
        for record in finished(todo, output, arguments.jobs):
            records[record["name"]] = {**record, "levels": levels[record["name"]], "data": data}
            write_records(output, records.values())
            print(f"{len(records)} runs.", flush=True)
        screening_report.write(list(records.values()), arguments.factor, output)
    print(screening_report.table(list(records.values()), arguments.factor))


def check_factors(factors, settings):
    """Raises a `ValueError` unless these are names, each with two different levels of what no other one sets.

    Args:
        factors: A list of a name and two strings of train.py's flags each.
        settings: The flags that all runs have in common, which a level may replace.
    """
    names = [name for name, *_ in factors]
    varied = {}
    for name, *levels in factors:
        if names.count(name) > 1:
            raise ValueError(f"--factor must have another name each time. Received twice: {name}")
        (first, of_first), (second, of_second) = (level_of(name, flags, settings) for flags in levels)
        if first == second:
            raise ValueError(f"--factor {name} must have two different levels. Received: {levels[0]} and {levels[1]}")
        varied[name] = {*of_first, *of_second}
    for one, other in itertools.combinations(varied, 2):
        for argument in sorted(varied[one] & varied[other]):
            flag = "--" + argument.replace("_", "-")
            raise ValueError(
                f"--factor {other} must not set {flag}, which --factor {one} does: one would undo the other."
            )


def level_of(name, flags, settings):
    """What a level makes of train.py's arguments, and which of them it sets: not where a run is, nor its depths."""
    parser = ArgumentParser(__doc__)
    parser.prog += f": --factor {name}"
    add_settings(parser)
    add_distillation(parser)
    try:
        words = shlex.split(flags)
    except ValueError as error:
        raise ValueError(f"--factor {name} must have flags as a shell reads them: {error}: {flags}") from None
    typed = parser.typed(words)
    for fixed, reason in {"depths": "effects are those on each", "dataset": "all runs have the same images"}.items():
        if fixed in typed:
            raise ValueError(f"--factor {name} must leave --{fixed} as it is: {reason}. Received: {flags}")
    arguments = parser.parse_args([*settings, *words])
    check_effect(f"--factor {name}", arguments.distillation, typed)
    try:
        check_depths(arguments)
        trainer.distillation(arguments)
    except ValueError as error:
        raise ValueError(f"--factor {name}: {error}") from None
    return vars(arguments), typed


def check_seeds(seeds):
    """Raises a `ValueError` unless these are pairs of different seeds: one for the design, one for its mirror image."""
    if len(seeds) % 2 or len(set(seeds)) < len(seeds):
        received = " ".join(map(str, seeds))
        raise ValueError(f"--seeds must be an even number of different ones. Received: {received}")


def plan(arguments):
    """Every run, with the level that each factor has in it, 0 or 1: a list of pairs."""
    settings, depths = setting_flags(arguments), tuple(arguments.depths)
    runs = []
    for seed, levels in design(len(arguments.factor), arguments.seeds):
        of_run = ["--depths", *map(str, depths), "--seed", str(seed), "--evaluate-on", "validation"]
        chosen = [word for factor, level in zip(arguments.factor, levels) for word in shlex.split(factor[1 + level])]
        run = Run("levels" + "".join(map(str, levels)), depths, seed, (*settings, *of_run, *chosen))
        runs.append((run, levels))
    return runs


def design(num_factors, seeds):
    """The levels of all factors in every run: a list of pairs of a seed and of a list of 0 or 1.

    Args:
        num_factors: How many there are, a positive integer.
        seeds: An even number of seeds.

    Example:
    >>> design(2, [5, 6])[:4]
    [(5, [0, 0]), (5, [1, 0]), (5, [0, 1]), (5, [1, 1])]
    >>> design(2, [5, 6])[4:]
    [(6, [1, 1]), (6, [0, 1]), (6, [1, 0]), (6, [0, 0])]
    """
    # Its first column is constant. Of the others, any two have each pair of signs equally often.
    signs = hadamard(1 << num_factors.bit_length())[:, 1 : num_factors + 1]
    return [(seed, [int(sign != (-1) ** index) for sign in row]) for index, seed in enumerate(seeds) for row in signs]


def check_records(records, runs, output):
    """Refuses to mix runs of different screenings."""
    wanted = {run.name: {**run.arguments, "backend": keras.backend.backend()} for run in runs}
    for record in records:
        if wanted.get(record["name"]) != recorded(record):
            raise ValueError(
                f"--output {output} holds the run {record['name']}, which is not one of these factors, settings and "
                "seeds on this backend: choose another folder."
            )


if __name__ == "__main__":
    run_command(main, argument_parser())
