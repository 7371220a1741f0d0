"""Compares ways to train several depths, over the same seeds: alone, jointly, and with each part of EKD.

For example:

    python recipes/study/compare.py --dataset digits --backbone resnet_cifar --depths 8 14 20 --output comparison

- alone: every depth in a training of its own;
- joint: all depths in one network, cross-entropy only;
- kl, attention: with one of EKD's terms;
- ekd: with both;
- `--variant NAME FLAGS`: jointly, with these flags of train.py: those of distillation, and `--epochs`, for instance to
  train jointly for as long as all depths take alone.

All of them see the same images in the same order under the same schedule (but for a variant's epochs), and start from
the same weights where they have any in common (of the same shape: a DenseNet's depend on its depths). Each run is a
process of train.py in OUTPUT/runs; a command that was stopped goes on where it was, and no run is made twice.
OUTPUT/results.json has every run, table.md and accuracy.png show them: on the validation split, which all choices are
made on, until `--test` looks at the test split, once, at the end.
"""

import argparse
import concurrent.futures
import multiprocessing
import pathlib
import re
import shlex
from concurrent.futures.process import BrokenProcessPool

import comparison_report
import keras
from comparison_records import read_records, write_records
from comparison_runs import Run, begun_records, finished, recorded

from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer
from ddnn_keras.command_line import run as run_command
from ddnn_keras.data.fingerprint import check_data, fingerprint
from ddnn_keras.runs import trainer
from ddnn_keras.runs.arguments import (
    add_distillation,
    add_epochs,
    add_settings,
    argument_names,
    check_depths,
    check_effect,
    load_images,
    setting_flags,
)
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.folder_lock import one_at_a_time
from ddnn_keras.runs.run_directory import RunDirectory

# The flags of train.py that make each method. "alone" trains every depth on its own.
METHODS = {
    "alone": "--distillation none",
    "joint": "--distillation none",
    "kl": "--distillation kl",
    "attention": "--distillation attention",
    "ekd": "--distillation ekd",
}

# What may differ between runs of two methods; with other settings, they cannot be compared.
OF_ONE_RUN = {"seed", *argument_names(add_distillation)}
# And between runs of a variant and of something else.
OF_A_VARIANT = {"epochs"}


def argument_parser():
    """The command line: every setting of train.py, and what is compared."""
    parser = ArgumentParser(__doc__)
    add_settings(parser)
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="what to compare")
    add(
        "--variant",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "FLAGS"),
        help="a method of your own, as flags of train.py; between a flag and its value is a blank, not =",
    )
    add("--seeds", type=non_negative_integer, nargs="+", default=[0, 1, 2], help="the repetitions")
    add(
        "--jobs",
        type=positive_integer,
        default=1,
        help="trainings, or tests, at a time; they share the cores (TensorFlow), or a GPU",
    )
    add("--test", action="store_true", help="looks at the test split when all runs are done")
    add("--output", required=True, help="folder for results, table and picture; one that exists is gone on with")
    return parser


def main(arguments):
    """Does what is left to do, and writes the report after every run."""
    output = pathlib.Path(arguments.output)
    check_depths(arguments, at_least=2)
    runs = plan(arguments)
    # Before any training, so that mistakes show early, and two of them do not prepare the data set at once.
    images = images_of_any_seed(arguments)
    with one_at_a_time(output):
        records = {record["name"]: record for record in read_records(output)}
        check_records([*records.values(), *begun_records(output, runs)], runs, output)
        data = fingerprint(images)
        check_data(records.values(), data, arguments)
        if arguments.test:
            check_networks(records.values(), output)
        todo = [run for run in runs if run.name not in records]
        print(f"{len(runs) - len(todo)} of {len(runs)} runs are done.", flush=True)
        for record in finished(todo, output, arguments.jobs):
            records[record["name"]] = {**record, "data": data}
            write_results(output, records.values())
            print(f"{len(records)} runs. {record['name']}: {accuracies(record['validation'])}", flush=True)
        if arguments.test:
            for record in tested([record for record in records.values() if "test" not in record], arguments):
                write_results(output, records.values())
                print(f"Tested {record['name']}: {accuracies(record['test'])}", flush=True)
        write_results(output, records.values())
    print(comparison_report.table(list(records.values())))


def write_results(output, records):
    """Writes `results.json`, table and picture."""
    comparison_report.write(write_records(output, records), output)


def plan(arguments):
    """Every run that the command line asks for.

    One seed after the other, so that comparisons come early; within a seed the longest first, so that none is left
    over when the other `--jobs` have nothing more to do.
    """
    settings = setting_flags(arguments)
    check_variants(arguments.variant)
    methods = {name: METHODS[name] for name in arguments.methods} | dict(arguments.variant)
    runs = []
    for seed in dict.fromkeys(arguments.seeds):
        for method, flags in methods.items():
            networks = [(depth,) for depth in arguments.depths] if method == "alone" else [tuple(arguments.depths)]
            for depths in networks:
                of_run = ["--depths", *map(str, depths), "--seed", str(seed), "--evaluate-on", "validation"]
                runs.append(Run(method, depths, seed, (*settings, *of_run, *shlex.split(flags))))
    # Depth stands for time.
    return sorted(runs, key=lambda run: (arguments.seeds.index(run.seed), -sum(run.depths)))


def check_variants(variants):
    """Raises a `ValueError` unless pairs of a name and of flags are variants. Names are those of folders, too."""
    names = [name for name, _ in variants]
    for name, flags in variants:
        if name in METHODS:
            raise ValueError(f"--variant must not have the name of a method. Received: {name}")
        if names.count(name) > 1:
            raise ValueError(f"--variant must have another name each time. Received twice: {name}")
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"--variant must have a name of letters, digits, _, . and -. Received: {name}")
        try:
            words = shlex.split(flags)
        except ValueError as error:
            raise ValueError(f"--variant {name} must have flags as a shell reads them: {error}: {flags}") from None
        parser = variant_parser(name)
        parsed = parser.parse_args(words)
        check_effect(f"--variant {name}", parsed.distillation, parser.typed(words))
        try:
            trainer.distillation(parsed)
        except ValueError as error:
            raise ValueError(f"--variant {name}: {error}") from None


def variant_parser(name):
    """What a variant may set: anything else would not be the same training."""
    parser = ArgumentParser(__doc__)
    parser.prog += f": --variant {name}"
    add_distillation(parser)
    add_epochs(parser)
    return parser


def check_records(records, runs, output):
    """Refuses to mix runs that cannot be compared."""
    if any("levels" in record for record in records):
        raise ValueError(f"--output {output} holds a screening, which screen.py goes on with: choose another folder.")
    for run in runs:
        wanted = {**run.arguments, "backend": keras.backend.backend()}
        for record in records:
            found = recorded(record)
            for name in sorted(compared(run, record, wanted)):
                if wanted[name] != found[name]:
                    raise ValueError(
                        f"--output {output} holds the run {record['name']} with {name} {found[name]}, which does not "
                        f"compare with the {wanted[name]} of {run.name}: choose another folder."
                    )


def compared(run, record, names):
    """Which of the arguments must be the same in a run and in a record."""
    methods = {run.method, record["method"]}
    may_differ = OF_ONE_RUN if len(methods) == 2 else {"seed"}
    if "alone" in methods:
        may_differ = may_differ | {"depths"}
    if len(methods) == 2 and not methods <= METHODS.keys():
        may_differ = may_differ | OF_A_VARIANT
    return set(names) - may_differ


def check_networks(records, output):
    """Raises a `ValueError` if a run that has not been on the test split has lost its network."""
    for record in records:
        model = RunDirectory(output / "runs" / record["name"]).model
        if "test" not in record and not model.is_file():
            raise ValueError(f"--test needs the network of {record['name']}, and there is no {model}.")


def tested(records, arguments):
    """Gives each record what its network does on the test split; `--jobs` networks at a time, each in a process."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(arguments.jobs, mp_context=spawn) as pool:
        left = {pool.submit(test_metrics, record["name"], arguments): record for record in records}
        for future in concurrent.futures.as_completed(left):
            try:
                left[future]["test"] = future.result()
            except BrokenProcessPool:
                raise ValueError("--test lost one of its processes: fewer --jobs take less memory.") from None
            yield left[future]


def test_metrics(name, arguments):
    """What the network of a run does on the test split."""
    network = load_network(RunDirectory(pathlib.Path(arguments.output) / "runs" / name).model)
    return trainer.final_metrics(network, images_of_any_seed(arguments).test(arguments.batch_size))


def images_of_any_seed(arguments):
    """The data set, of which all seeds have the same test images."""
    return load_images(argparse.Namespace(**{**vars(arguments), "seed": 0}))


def accuracies(metrics):
    """The accuracy of each depth, for people."""
    return ", ".join(f"{key.removeprefix('depth_')} {row['accuracy']:.2%}" for key, row in metrics.items())


if __name__ == "__main__":
    run_command(main, argument_parser())
