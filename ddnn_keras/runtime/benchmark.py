"""How long networks take on this device, and how much memory."""

import dataclasses
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

from ddnn_keras.runtime.accelerators import lite_models
from ddnn_keras.runtime.metadata import metadata_if_any, named_depths

OPENINGS = 10
STATUS = pathlib.Path("/proc/self/status")


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one signature of a file takes."""

    file: str
    signature: str
    depth: object  # as the file's description names it; empty if the file has none
    accelerator: str  # as in `Runtime`; empty for the Interpreter
    threads: int
    median_ms: float
    p90_ms: float
    relative: float  # to the first network's time in the same round; the median over all rounds
    load_ms: float  # from opening the file to the end of the first run, in a new process
    peak_mb: float  # how far that process' memory rose, in megabytes; NaN if it is not Linux
    accuracy: object  # as the file's description gives it, a fraction; empty if the file has none


def benchmark(paths, threads=1, runs=100, warm_up=10, accelerators=(None,)):
    """Times every signature of several files on every accelerator, as `Runtime` names them: a list of `Measurement`.

    In each round every network runs once, in random order. So a disturbance of the device meets all networks alike.
    """
    files = [(str(path), threads, accelerator) for path in paths for accelerator in accelerators]
    facts = [metadata_if_any(path) for path, *_ in files]
    seconds = timed(files, runs, warm_up)
    first = next(iter(seconds.values()))
    return [
        Measurement(
            file=files[number][0],
            signature=signature,
            depth=named_depths(facts[number]).get(signature, ""),
            accelerator=files[number][-1] or "",
            threads=threads,
            median_ms=1000 * float(np.median(times)),
            p90_ms=1000 * float(np.quantile(times, 0.9)),
            relative=float(np.median(times / first)),
            **footprint_in_a_process(signature, *files[number]),
            accuracy=facts[number].get("signatures", {}).get(signature, {}).get("verification", {}).get("accuracy", ""),
        )
        for (number, signature), times in seconds.items()
    ]


def timed(files, runs, warm_up):
    """The seconds of every run: a dict from pairs of a file's index and a signature to arrays of `runs` numbers.

    `files` are the arguments of `lite_models`. The place of an interpreter's weights in memory changes its speed by
    several percent for as long as it is open. So files are opened anew several times, in random order.
    """
    random_order = random.Random(0)
    # By number: a file may be given twice, to see how far equal times differ.
    seconds = {(number, signature): [] for number, file in enumerate(files) for signature in lite_models(*file)}
    for share in np.array_split(np.arange(runs), min(runs, OPENINGS)):
        networks = {}
        for number in random_order.sample(range(len(files)), len(files)):
            opened = lite_models(*files[number])
            networks |= {(number, signature): network for signature, network in opened.items()}
        times = timed_rounds(networks, warm_up + len(share), random_order)
        for key in seconds:
            seconds[key] += times[key][warm_up:]
    return {key: np.array(times) for key, times in seconds.items()}


def timed_rounds(networks, rounds, random_order):
    """The seconds of every run: a dict from the networks' keys to lists of `rounds` numbers."""
    images = {key: some_image(network) for key, network in networks.items()}
    seconds = {key: [] for key in networks}
    for _ in range(rounds):
        for key in random_order.sample(list(networks), len(networks)):
            start = time.perf_counter()
            networks[key].invoke(images[key])
            seconds[key].append(time.perf_counter() - start)
    return seconds


def some_image(network):
    """Random pixels as the network takes them."""
    pixels = np.random.default_rng(0).integers(0, 256, network.input.shape)
    return network.input.encode(pixels.astype("float32"))


def footprint_in_a_process(*arguments):
    """`footprint` in a new process, which has loaded nothing else."""
    command = [sys.executable, "-m", __name__, json.dumps(arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])  # behind what a GPU's driver prints


def footprint(signature, *file):
    """What a network takes from the opened file to its first answer: a dict."""
    before, start = process_memory(), time.perf_counter()
    network = lite_models(*file)[signature]
    network.invoke(some_image(network))
    load_ms = 1000 * (time.perf_counter() - start)
    return {"load_ms": load_ms, "peak_mb": (process_memory(peak=True) - before) / 2**20}


def process_memory(peak=False):
    """The process's memory in bytes, now or at its peak, or NaN where there is no Linux to ask.

    Not from `resource.getrusage`, whose peak a process inherits from the one that started it.
    """
    if not STATUS.exists():
        return math.nan
    name = "VmHWM" if peak else "VmRSS"
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(footprint(*json.loads(sys.argv[1]))))
