"""The trainings of a comparison: each is a process of train.py, and goes on where it was stopped."""

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

from comparison_records import portable, read_records, write_records

from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer
from ddnn_keras.runs.arguments import add_flags, argument_parser, check_effect, load_images, with_absolute_paths
from ddnn_keras.runs.run_directory import RunDirectory

# Several trainings share a GPU. JAX would take three quarters of its memory for each of them, TensorFlow all of it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

TRAIN = pathlib.Path(__file__).parents[1] / "train.py"


@dataclasses.dataclass(frozen=True)
class Run:
    """One training to do, with the command line of train.py without `--output`."""

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
        """All arguments of train.py but those of this machine."""
        return portable(vars(with_absolute_paths(argument_parser("").parse_args(self.flags))))


def planned(method, depths, seed, settings, flags):
    """The `Run` with these settings of all runs, and with these flags of the method."""
    of_run = ["--depths", *map(str, depths), "--seed", str(seed), "--evaluate-on", "validation"]
    return Run(method, depths, seed, (*settings, *of_run, *shlex.split(flags)))


def add_repetitions(parser, seeds):
    """The arguments that say how often, how many at a time, and where."""
    add = parser.add_argument
    add("--seeds", type=non_negative_integer, nargs="+", default=seeds, help="the repetitions")
    jobs = "trainings at a time; they share the cores (TensorFlow), or a GPU"
    add("--jobs", type=positive_integer, default=1, help=jobs)
    add("--output", required=True, help="folder for results, table and picture; one that exists is gone on with")


def check_flags(option, flags, allowed):
    """Raises a `ValueError` where the flags of an option set what is not allowed, or have no effect."""
    from ddnn_keras.runs import trainer

    parser = ArgumentParser("")
    parser.prog += f": {option}"
    add_flags(parser, allowed)
    words = shlex.split(flags)
    arguments = parser.parse_args(words)
    check_effect(option, arguments, parser.typed(words))
    trainer.distillation(arguments)


def images_of_any_seed(arguments):
    """The data set with the split of seed 0. All seeds have the same test images."""
    return load_images(argparse.Namespace(**vars(arguments), seed=0))


def trained_records(runs, arguments, check_records):
    """Trains the runs that `results.json` lacks; gives all records at the beginning and after each run."""
    from ddnn_keras.runs.fingerprint import fingerprint, is_same
    from ddnn_keras.runs.folder_lock import one_at_a_time

    output = pathlib.Path(arguments.output)
    images = images_of_any_seed(arguments)
    with one_at_a_time(output):
        records = read_records(output)
        check_records(records, runs, output)
        data = fingerprint(images)
        if other := next((record for record in records if not is_same(record.get("data", {}), data)), None):
            raise ValueError(
                f"--dataset {arguments.dataset} has other images than the run {other['name']} in {output} was trained "
                "on: choose another folder."
            )
        done = {record["name"] for record in records}
        todo = [run for run in runs if run.name not in done]
        print(f"{len(runs) - len(todo)} of {len(runs)} runs are done.", flush=True)
        yield records
        for record in finished(todo, output, arguments.jobs):
            records.append({**record, "data": data})
            write_records(output, records)
            print_accuracies(record, "validation")
            yield records


def print_accuracies(record, split):
    """Prints the accuracy of each depth of a run."""
    found = [f"{key.removeprefix('depth_')} {row['accuracy']:.2%}" for key, row in record[split].items()]
    print(f"{record['name']}, {split}: {', '.join(found)}", flush=True)


def finished(runs, output, jobs):
    """Trains `jobs` networks at a time, and gives the record of each when it is done."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(trained, run, output, threads) for run in runs]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def trained(run, output, threads):
    """Trains one network in a process of its own, or goes on with it, and gives its record."""
    directory = RunDirectory(output / "runs" / run.name)
    resumed = directory.config.exists()
    # The flags here too: train.py refuses those that are not what the run was begun with.
    command = [sys.executable, str(TRAIN), *run.flags, "--resume" if resumed else "--output", str(directory.path)]
    # Several small trainings, each on few threads, use the cores better than one on all of them.
    environment = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads), **os.environ}
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    if process.returncode:
        # A process that a signal ended says nothing, and has a negative code.
        *_, message = [f"exit code {process.returncode}", *process.stderr.strip().splitlines()]
        raise ValueError(f"{run.name} failed: {message}")
    return record(run, directory, resumed, int(environment["TF_NUM_INTRAOP_THREADS"]))


def record(run, directory, resumed, threads):
    """What `results.json` keeps of a finished run."""
    from ddnn_keras.runs import trainer
    from ddnn_keras.runs.checkpoint import read_progress

    config = directory.read_config()
    models = directory.teacher.model, directory.model  # a teacher was trained first
    return {
        "name": run.name,
        "method": run.method,
        "depths": list(run.depths),
        "seed": run.seed,
        "arguments": portable(config["arguments"]),
        # Of a resumed run, those of its beginning.
        **{name: config[name] for name in ("versions", "backend", "revision", "processor")},
        # The order of TensorFlow's sums depends on it.
        "threads": threads,
        "seconds": sum(read_progress(path)["seconds"] for path in models if path.exists()),
        "resumed": resumed,
        # Of the last epoch, as the images are varied: how far the networks fit them.
        "train": trainer.metrics_of_depths(directory.read_history()[-1], run.depths),
        "validation": json.loads(directory.metrics.read_text()),
    }
