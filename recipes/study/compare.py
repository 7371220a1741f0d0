"""Compares ways to train several depths, over the same seeds: alone, jointly, and with each part of EKD.

For example:

    python recipes/study/compare.py --dataset digits --backbone resnet_cifar --depths 8 14 20 --output comparison

- alone: every depth in a training of its own;
- joint: all depths in one network, cross-entropy only;
- kl, attention: with one of EKD's terms;
- ekd: with both;
- `--variant NAME FLAGS`: jointly, with these flags of train.py: those of distillation, `--epochs` and
  `--teacher-epochs`, for instance to train jointly for as long as all depths take alone.

All methods see the same images in the same order under the same schedule; a variant may have other epochs. They start
from the same weights where shapes agree. Each run is a process of train.py in OUTPUT/runs, and a command that was
stopped goes on where it was. OUTPUT has results.json with every run, table.md and accuracy.png. They are about the
validation split, which all choices are made on, until `--test` looks at the test split, once, at the end.
"""

import itertools
import pathlib

import comparison_report
from comparison_records import made_with, write_records
from comparison_runs import add_repetitions, check_flags, images_of_any_seed, planned, print_accuracies, trained_records

from ddnn_keras.command_line import ArgumentParser, run
from ddnn_keras.runs.arguments import DISTILLATION, SETTINGS, add_flags, check_depths, setting_flags
from ddnn_keras.runs.run_directory import RunDirectory

# The flags of train.py that make each method. "alone" trains every depth on its own.
METHODS = {
    "alone": "--distillation none",
    "joint": "--distillation none",
    "kl": "--distillation kl",
    "attention": "--distillation attention",
    "ekd": "--distillation ekd",
}

parser = ArgumentParser(__doc__)
add_flags(parser, SETTINGS)
add = parser.add_argument
add("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="what to compare")
variant = "a method of your own, as flags of train.py; between a flag and its value is a blank, not ="
add("--variant", nargs=2, action="append", default=[], metavar=("NAME", "FLAGS"), help=variant)
add_repetitions(parser, seeds=[0, 1, 2])
add("--test", action="store_true", help="looks at the test split when all runs are done")


def main(arguments):
    output = pathlib.Path(arguments.output)
    check_depths(arguments, at_least=2)
    check_variants(arguments.variant)
    for records in trained_records(plan(arguments), arguments, check_records):
        if records:
            comparison_report.write(records, output)
    if arguments.test:
        test(records, output, images_of_any_seed(arguments).test(arguments.batch_size))
    print(comparison_report.table(records))


def plan(arguments):
    """Every run that the command line asks for.

    One seed comes after the other, so that comparisons come early. Within a seed the longest run comes first, so that
    none is left over when the other `--jobs` have nothing more to do.
    """
    settings = setting_flags(arguments)
    methods = {name: METHODS[name] for name in arguments.methods} | dict(arguments.variant)
    runs = []
    for seed in dict.fromkeys(arguments.seeds):
        for method, flags in methods.items():
            networks = [(depth,) for depth in arguments.depths] if method == "alone" else [tuple(arguments.depths)]
            runs += [planned(method, depths, seed, settings, flags) for depths in networks]
    # Depth stands for time.
    return sorted(runs, key=lambda one: (arguments.seeds.index(one.seed), -sum(one.depths)))


def check_variants(variants):
    """Raises a `ValueError` unless the names are new and the flags may differ from method to method."""
    names = [*METHODS, *(name for name, _ in variants)]
    for name, flags in variants:
        if names.count(name) > 1:
            raise ValueError(f"--variant must have a new name each time, and not a method's. Received: {name}")
        check_flags(f"--variant {name}", flags, [*DISTILLATION, "epochs", "teacher_epochs"])


def check_records(records, runs, output):
    """Refuses to mix runs that cannot be compared."""
    import keras

    for one, record in itertools.product(runs, records):
        wanted, found = {**one.arguments, "backend": keras.backend.backend()}, made_with(record)
        for name in sorted(wanted.keys() - may_differ({one.method, record["method"]})):
            if wanted[name] != found[name]:
                raise ValueError(
                    f"--output {output} holds the run {record['name']} with {name} {found[name]}, which does not "
                    f"compare with the {wanted[name]} of {one.name}: choose another folder."
                )


def may_differ(methods):
    """The arguments that may differ between two runs of these methods, a set of one or two."""
    names = {"seed"}
    if len(methods) == 2:
        names.update(DISTILLATION)
        if not methods <= METHODS.keys():
            names |= {"epochs", "teacher_epochs"}
    return names | {"depths"} if "alone" in methods else names


def test(records, output, images):
    """Adds to each record what its network does on the test images."""
    from ddnn_keras.runs import trainer
    from ddnn_keras.runs.checkpoint import load_network

    for record in [record for record in records if "test" not in record]:
        network = load_network(RunDirectory(output / "runs" / record["name"]).model)
        record["test"] = trainer.final_metrics(network, images)
        write_records(output, records)
        print_accuracies(record, "test")
    comparison_report.write(records, output)


if __name__ == "__main__":
    run(main, parser)
