"""The trainings of a comparison: each a process of train.py, taken up where it was stopped."""

import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys

from comparison_records import portable, portable_flags

from ddnn_keras.runs import trainer
from ddnn_keras.runs.arguments import argument_parser as train_parser
from ddnn_keras.runs.arguments import with_absolute_paths
from ddnn_keras.runs.checkpoint import training_seconds
from ddnn_keras.runs.folder_lock import wait_until_free
from ddnn_keras.runs.run_directory import RunDirectory

# Several trainings, and the process that waits for them, share a GPU. JAX would take three quarters of its memory for
# each of them, TensorFlow all of it.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


TRAIN = pathlib.Path(__file__).parents[1] / "train.py"


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


def begun_records(output, runs):
    """What the runs that were begun, and are not in `results.json` yet, were begun with."""
    directories = {run: RunDirectory(output / "runs" / run.name) for run in runs}
    configs = {run: directory.read_config() for run, directory in directories.items() if directory.config.exists()}
    return [
        {
            "name": run.name,
            "method": run.method,
            "arguments": portable(config["arguments"]),
            "backend": config["backend"],
        }
        for run, config in configs.items()
    ]


def recorded(record):
    """What a run was made with: all arguments of train.py, those of this machine excepted, and the backend."""
    # An argument that a record lacks came into being after that run, with a default that changed nothing.
    defaults = portable(vars(train_parser("").parse_args([])))
    return {**defaults, **record["arguments"], "backend": record["backend"]}


def finished(runs, output, jobs):
    """Trains `jobs` networks at a time; gives the record of each when it is done.

    When one fails, those that have begun are brought to their end, for nothing that was trained shall be lost.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    failure = None
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        left = {pool.submit(trained, run, output, threads) for run in runs}
        try:
            while left:
                done, left = concurrent.futures.wait(left, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    if error := future.exception():
                        failure = failure or error
                        left = {future for future in left if not future.cancel()}
                        print(f"Stopping, as soon as the trainings end that have begun: {error}", flush=True)
                    else:
                        yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    if failure:
        raise failure


def trained(run, output, threads):
    """Trains one network in a process of its own, or goes on with it, and gives its record."""
    directory = RunDirectory(output / "runs" / run.name)
    # A comparison that was killed leaves a training behind, which goes on.
    wait_until_free(directory.path)
    resumed = directory.config.exists()
    # The flags here too: train.py refuses those that are not what the run was begun with.
    flags = [*run.flags, "--resume" if resumed else "--output", str(directory.path)]
    # Several small trainings, each on few threads, use the cores better than one on all of them.
    environment = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads), **os.environ}
    process = subprocess.run(
        [sys.executable, str(TRAIN), *flags],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if process.returncode:
        raise ValueError(f"{run.name} failed: {reason(process)}")
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
        # A run that was begun before these were written down has none. Of a resumed one, those of its beginning.
        "revision": config.get("revision"),
        "processor": config.get("processor"),
        # The order of TensorFlow's sums depends on it.
        "threads": int(environment["TF_NUM_INTRAOP_THREADS"]),
        "seconds": training_seconds(directory.model),
        "resumed": resumed,
        # Of the last epoch, as the images are varied: how far the networks fit them.
        "train": trainer.metrics_of_depths(directory.read_history()[-1], run.depths),
        "validation": json.loads(directory.metrics.read_text()),
    }


def reason(process):
    """Why a training failed."""
    if process.returncode < 0:
        return f"ended by signal {-process.returncode}, {signal.strsignal(-process.returncode)}"
    return (process.stderr.strip().splitlines() or ["no message"])[-1]
