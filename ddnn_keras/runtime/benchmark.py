"""How long networks take on this device, and how much memory.

NumPy and ai_edge_litert are all it needs.
"""

import dataclasses
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

from ddnn_keras.runtime.interpreter import LiteModel, lite_models
from ddnn_keras.runtime.metadata import named_depths, read_metadata
from ddnn_keras.runtime.process_memory import memory_now, peak_memory

OPENINGS = 10


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one signature of a file takes.

    Args:
        file: The file's path, as it was given.
        signature: The signature's name.
        depth: The depth that the file calls it, or an empty string.
        threads: Number of CPU threads.
        median_ms: Median time of a run, in milliseconds.
        p90_ms: The time that nine runs of ten keep.
        relative: Median over rounds of its time divided by that of the first network in the same round.
        load_ms: From opening the file to the end of the first run, in a fresh process.
        peak_mb: By how much the process's peak memory then exceeds its memory before, in megabytes. NaN where there is
            no Linux to ask.
        accuracy: On held-out images, a fraction, as the file tells it; or an empty string.
    """

    file: str
    signature: str
    depth: object
    threads: int
    median_ms: float
    p90_ms: float
    relative: float
    load_ms: float
    peak_mb: float
    accuracy: object


def benchmark(paths, threads=1, runs=100, warm_up=10, seed=0):
    """Times every signature of several files, in turns.

    In each round every network runs once, in random order: whatever the device does meanwhile, all meet it alike. The
    files are opened ten times, see `timed`.

    Args:
        paths: Paths of `.tflite` files.
        threads: Number of CPU threads, a positive integer. Defaults to `1`.
        runs: Number of rounds that are timed. Defaults to `100`.
        warm_up: Number of rounds before that, each time that the files are opened. Defaults to `10`.
        seed: Of the order. Defaults to `0`.

    Returns:
        A list of `Measurement`, in the order of the files and of the signatures in them.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is not a whole TFLite file, or an argument is not as above.
    """
    paths = list(map(str, paths))
    if not paths:
        raise ValueError("`paths` must be one or more. Received: none")
    for name, value, least in (("runs", runs, 1), ("warm_up", warm_up, 0)):
        if value < least:
            raise ValueError(f"`{name}` must be {least} or more. Received: {name}={value!r}")
    facts = [description_of(path) for path in paths]
    seconds = timed(paths, threads, runs, warm_up, seed)
    first = next(iter(seconds.values()))
    return [
        Measurement(
            file=paths[number],
            signature=signature,
            depth=named_depths(facts[number]).get(signature, ""),
            threads=threads,
            median_ms=1000 * float(np.median(times)),
            p90_ms=1000 * float(np.quantile(times, 0.9)),
            relative=float(np.median(times / first)),
            **footprint_in_a_process(paths[number], signature, threads),
            accuracy=facts[number].get("signatures", {}).get(signature, {}).get("verification", {}).get("accuracy", ""),
        )
        for (number, signature), times in seconds.items()
    ]


def timed(paths, threads, runs, warm_up, seed):
    """The seconds of every run: a dict from pairs of a path's index and a signature to arrays of `runs` numbers.

    Where in memory an interpreter's weights happen to lie makes one of two equal files up to 6 % slower for as long as
    both are open. So files are opened anew several times, in random order.
    """
    random_order = random.Random(seed)
    # By number: a file may be given twice, to see how far equal times differ.
    seconds = {(number, signature): [] for number, path in enumerate(paths) for signature in lite_models(path, threads)}
    for share in np.array_split(np.arange(runs), min(runs, OPENINGS)):
        networks = {}
        for number in random_order.sample(range(len(paths)), len(paths)):
            opened = lite_models(paths[number], threads)
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


def description_of(path):
    """What the file tells of itself, or nothing."""
    try:
        return read_metadata(path)
    except ValueError:
        return {}


def footprint_in_a_process(path, signature, threads):
    """`footprint`, in a process that has loaded nothing else."""
    # Keras would come with the package where it is installed; a board has none.
    program = (
        "import sys; sys.modules['keras'] = sys.modules['tensorflow'] = None;"
        "from ddnn_keras.runtime.benchmark import footprint; footprint(*sys.argv[1:])"
    )
    command = [sys.executable, "-c", program, path, signature, str(threads)]
    folder = pathlib.Path(__file__).parents[2]  # the package need not be installed
    search_path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search_path}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["nothing"])[-1]
        raise ValueError(f"`paths` must be files that run on this device. Received: {path}, which ends with: {reason}")
    return json.loads(finished.stdout.splitlines()[-1])


def footprint(path, signature, threads):
    """Prints what a network takes from the opened file to its first answer, as JSON."""
    before, start = memory_now(), time.perf_counter()
    network = LiteModel(path, signature, int(threads))
    network.invoke(some_image(network))
    load_ms = 1000 * (time.perf_counter() - start)
    print(json.dumps({"load_ms": load_ms, "peak_mb": (peak_memory() - before) / 2**20}))
