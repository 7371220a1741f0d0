"""Compares ways to train several depths, over the same seeds: alone, jointly, and with each part of EKD.

For example:

    python recipes/compare.py --dataset digits --backbone resnet_cifar --depths 8 14 20 --output comparison

- alone: every depth in a training of its own;
- joint: all depths in one network, cross-entropy only;
- kl, attention: with one of EKD's terms;
- ekd: with both;
- `--variant NAME FLAGS`: jointly, with these flags of train.py.

All of them see the same images in the same order under the same schedule, and start from the same weights where they
have any in common (of the same shape: a DenseNet's depend on its depths). Each run is a process of train.py in
OUTPUT/runs; a command that was stopped goes on where it was, and no run is made twice. OUTPUT/results.json has every
run, table.md and accuracy.png show them: on the validation split, which all choices are made on, until `--test` looks
at the test split, once, at the end.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

import comparison_report
import keras
import train
from one_at_a_time import one_at_a_time
from train_arguments import DEVICES, add_distillation, add_settings, check_depths, load_images, with_absolute_paths
from train_arguments import argument_parser as train_parser

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.checkpoint import load_network
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer
from ddnn_keras.command_line import run as run_command
from ddnn_keras.run_directory import RunDirectory

# The flags of train.py that make each method. "alone" trains every depth on its own.
METHODS = {
    "alone": "--distillation none",
    "joint": "--distillation none",
    "kl": "--distillation kl",
    "attention": "--distillation attention",
    "ekd": "--distillation ekd",
}


def argument_names(add):
    """The names of the arguments that `add` gives a parser."""
    parser = ArgumentParser("")
    add(parser)
    return list(vars(parser.parse_args([])))


# What may differ from run to run; with other settings, runs cannot be compared.
OF_ONE_RUN = {"depths", "seed", *argument_names(add_distillation)}

# Where things are on this machine is nobody else's business.
OF_THIS_MACHINE = {"data_dir", "manual_dir"}


@dataclasses.dataclass(frozen=True)
class Run:
    """One training to do.

    Args:
        method: Its name in the table.
        depths: The depths of its network.
        seed: Its seed.
        flags: The command line of train.py, without `--output`.
    """

    method: str
    depths: tuple
    seed: int
    flags: tuple

    @property
    def name(self):
        """The name of its run directory."""
        return f"{self.method}_{'-'.join(map(str, self.depths))}_seed{self.seed}"

    @functools.cached_property
    def arguments(self):
        """All arguments of train.py, those of this machine excepted."""
        arguments = vars(with_absolute_paths(train_parser("").parse_args(self.flags)))
        return portable(arguments)


def argument_parser():
    """The command line: every setting of train.py, and what is compared."""
    parser = ArgumentParser(__doc__)
    add_settings(parser)
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS, help="what to compare")
    add("--variant", nargs=2, action="append", default=[], metavar=("NAME", "FLAGS"), help="a method of your own")
    add("--seeds", type=non_negative_integer, nargs="+", default=[0, 1, 2], help="the repetitions")
    add("--jobs", type=positive_integer, default=1, help="trainings at a time; they share the cores evenly")
    add("--test", action="store_true", help="looks at the test split when all runs are done")
    add("--output", required=True, help="folder for results, table and picture; one that exists is gone on with")
    return parser


def main(arguments):
    """Does what is left to do, and writes the report after every run."""
    output = pathlib.Path(arguments.output)
    check_depths(arguments)
    runs = plan(arguments)
    # Before any training, so that mistakes show early, and two of them do not prepare the data set at once.
    images = load_images(argparse.Namespace(**{**vars(arguments), "seed": 0}))
    with one_at_a_time(output):
        records = {record["name"]: record for record in read_records(output)}
        check_records([*records.values(), *begun_records(output, runs)], runs, output)
        todo = [run for run in runs if run.name not in records]
        print(f"{len(runs) - len(todo)} of {len(runs)} runs are done.", flush=True)
        for record in finished(todo, output, arguments.jobs):
            records[record["name"]] = record
            write_results(output, records.values())
            print(f"{len(records)} runs. {record['name']}: {accuracies(record['validation'])}", flush=True)
        if arguments.test:
            test(records, output, images.test(arguments.batch_size))
        write_results(output, records.values())
    print(comparison_report.table(list(records.values())))


def plan(arguments):
    """Every run that the command line asks for; one seed after the other, so that comparisons come early."""
    settings = []
    for name in argument_names(add_settings):
        value = getattr(arguments, name)
        if name != "depths" and value is not None:
            settings += ["--" + name.replace("_", "-"), str(value)]
    for name, flags in arguments.variant:
        if name in METHODS:
            raise ValueError(f"--variant must not have the name of a method. Received: {name}")
        variant_parser().parse_args(shlex.split(flags))
    methods = {name: METHODS[name] for name in arguments.methods} | dict(arguments.variant)
    runs = []
    for seed in dict.fromkeys(arguments.seeds):
        for method, flags in methods.items():
            networks = [(depth,) for depth in arguments.depths] if method == "alone" else [tuple(arguments.depths)]
            for depths in networks:
                of_run = ["--depths", *map(str, depths), "--seed", str(seed), "--evaluate-on", "validation"]
                runs.append(Run(method, depths, seed, (*settings, *of_run, *shlex.split(flags))))
    return runs


def variant_parser():
    """What a variant may set: anything else would not be the same training."""
    parser = ArgumentParser(__doc__)
    add_distillation(parser)
    return parser


def read_records(output):
    """The runs in `results.json`: a list of dicts."""
    path = output / "results.json"
    if not path.exists():
        return []
    try:
        return json.loads(path.read_text())["runs"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {error}.") from None


def begun_records(output, runs):
    """What the runs that were begun, and are not in `results.json` yet, were begun with."""
    directories = {run.name: RunDirectory(output / "runs" / run.name) for run in runs}
    configs = {name: directory.read_config() for name, directory in directories.items() if directory.config.exists()}
    return [
        {"name": name, "arguments": portable(config["arguments"]), "backend": config["backend"]}
        for name, config in configs.items()
    ]


def write_results(output, records):
    """Writes `results.json`, table and picture, in the order of names: the order in which runs end is chance."""
    records = sorted(records, key=lambda record: record["name"])
    with atomic_write(output / "results.json") as temporary:
        temporary.write_text(json.dumps({"runs": records}, indent=1, allow_nan=False) + "\n")
    comparison_report.write(records, output)


def check_records(records, runs, output):
    """Refuses to mix runs that cannot be compared."""
    # An argument that a record lacks came into being after that run, with a default that changed nothing.
    defaults = vars(train_parser("").parse_args([]))
    for run in runs:
        wanted = {**run.arguments, "backend": keras.backend.backend()}
        for record in records:
            found = {**defaults, **record["arguments"], "backend": record["backend"]}
            for name in sorted(compared(run, record, wanted)):
                if wanted[name] != found[name]:
                    raise ValueError(
                        f"--output {output} holds the run {record['name']} with {name} {found[name]}, which does not "
                        f"compare with the {wanted[name]} of {run.name}: choose another folder."
                    )


def compared(run, record, names):
    """Which of the arguments must be the same in a run and in a record."""
    if record["name"] == run.name:
        return set(names)
    together = run.method != "alone" and not record["name"].startswith("alone_")
    return set(names) - OF_ONE_RUN | ({"depths"} if together else set())


def finished(runs, output, jobs):
    """Trains `jobs` networks at a time; gives the record of each when it is done."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(trained, run, output, threads) for run in runs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException as error:
            print(f"Stopping, as soon as the trainings end that have begun: {error}", flush=True)
            pool.shutdown(cancel_futures=True)
            raise


def trained(run, output, threads):
    """Trains one network in a process of its own, or goes on with it, and gives its record."""
    directory = RunDirectory(output / "runs" / run.name)
    resumed = directory.config.exists()
    flags = ["--resume", str(directory.path)] if resumed else [*run.flags, "--output", str(directory.path)]
    script = str(pathlib.Path(train.__file__))
    # Several small trainings, each on few threads, use the cores better than one on all of them.
    environment = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads), **os.environ}
    begin = time.monotonic()
    process = subprocess.run(
        [sys.executable, script, *flags], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if process.returncode:
        raise ValueError(f"{run.name} failed: {(process.stderr.strip().splitlines() or ['no message'])[-1]}")
    config = directory.read_config()
    return {
        "name": run.name,
        "method": run.method,
        "depths": list(run.depths),
        "seed": run.seed,
        # Shells quote, since that is how a reader will run it.
        "command": "python recipes/train.py " + shlex.join(portable_flags(run.flags)),
        "arguments": portable(config["arguments"]),
        "versions": config["versions"],
        "backend": config["backend"],
        "seconds": round(time.monotonic() - begin, 1),
        "resumed": resumed,
        "validation": json.loads(directory.metrics.read_text()),
    }


def portable(arguments):
    """The arguments without those of this machine."""
    local = OF_THIS_MACHINE | DEVICES | {"output", "resume"}
    arguments = {name: value for name, value in arguments.items() if name not in local}
    return {**arguments, "dataset": without_folder(arguments["dataset"])}


def portable_flags(flags):
    """The flags without those of this machine."""
    local = {"--" + name.replace("_", "-") for name in OF_THIS_MACHINE}
    found = [(before, flag) for before, flag in zip(("", *flags), flags) if not {before, flag} & local]
    return [without_folder(flag) if before == "--dataset" else flag for before, flag in found]


def without_folder(dataset):
    """The data set's name, with the last part of its path if it has one."""
    kind, colon, path = dataset.partition(":")
    return kind + colon + os.path.basename(path)


def test(records, output, images):
    """Evaluates every run that has not been on the test split."""
    for name, record in records.items():
        if "test" not in record:
            model = load_network(RunDirectory(output / "runs" / name).model)
            record["test"] = train.final_metrics(model, images)


def accuracies(metrics):
    """The accuracy of each depth, for people."""
    return ", ".join(f"{key.removeprefix('depth_')} {row['accuracy']:.2%}" for key, row in metrics.items())


if __name__ == "__main__":
    run_command(main, argument_parser())
