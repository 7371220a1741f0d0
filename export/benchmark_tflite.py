"""Times .tflite files on this device: every depth of every file, in turns.

Needs NumPy and ai-edge-litert alone, and matplotlib for the picture. For example:

    python export/benchmark_tflite.py bundle_int8.tflite bundle.tflite
    python export/benchmark_tflite.py plain_18.tflite depth_18.tflite --runs 200
    python export/benchmark_tflite.py bundle.tflite --accelerator gpu
"""

import argparse
import dataclasses
import pathlib

from ddnn_keras.atomic_write import write_csv, write_figure
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer, run
from ddnn_keras.runtime.accelerators import ACCELERATORS
from ddnn_keras.runtime.benchmark import Measurement, benchmark
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("models", nargs="+", help=".tflite files; times are relative to the first", default=argparse.SUPPRESS)
add("--threads", type=positive_integer, default=1, help="CPU threads")
add("--accelerator", choices=ACCELERATORS, help="measures CompiledModel on it too, in turns with the Interpreter")
add("--runs", type=positive_integer, default=100, help="timed runs of each network")
add("--warm-up", type=non_negative_integer, default=10, help="runs before that, after each of ten openings")
output = "name, without a suffix, of the CSV file and, with matplotlib, of the picture"
add("--output", default="benchmark", metavar="NAME", help=output)


def main(arguments):
    accelerators = dict.fromkeys([None, arguments.accelerator])
    measurements = benchmark(arguments.models, arguments.threads, arguments.runs, arguments.warm_up, accelerators)
    print_table(measurements)
    path = pathlib.Path(f"{arguments.output}.csv")
    columns = [field.name for field in dataclasses.fields(Measurement)]
    write_csv(path, columns, map(dataclasses.astuple, measurements))
    print(f"Table: {path}")
    if any(found.accuracy != "" for found in measurements) and draw(measurements, f"{arguments.output}.png"):
        print(f"Picture: {arguments.output}.png")


def print_table(measurements):
    """Prints the measurements without Rich, which a board need not have."""
    columns = ("median ms", "p90 ms", "relative", "load ms", "peak MB", "accuracy")
    width = max(len(name_of(found)) for found in measurements)
    print(" " * width, *(f"{column:>10}" for column in columns))
    for found in measurements:
        accuracy = "" if found.accuracy == "" else f"{found.accuracy:.2%}"
        numbers = (found.median_ms, found.p90_ms, found.relative, found.load_ms, found.peak_mb)
        print(f"{name_of(found):{width}}", *(f"{number:10.3f}" for number in numbers), f"{accuracy:>10}")


def name_of(found):
    """A network's file and depth, and where it ran. Its signature if the file names no depths."""
    signature = "" if found.signature == DEFAULT_SIGNATURE else found.signature
    return " ".join(filter(None, (found.file, str(found.depth or signature), found.accelerator)))


def draw(measurements, path):
    """Draws accuracy against latency, a line for each file. Returns whether matplotlib is installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    known = [found for found in measurements if found.accuracy != ""]
    for line in dict.fromkeys((found.file, found.accelerator) for found in known):
        points = [found for found in known if (found.file, found.accelerator) == line]
        axes.plot([p.median_ms for p in points], [100 * p.accuracy for p in points], "o-", label=" ".join(line))
        for point in points:
            axes.annotate(str(point.depth), (point.median_ms, 100 * point.accuracy), (4, 4), textcoords="offset points")
    axes.set(xlabel=f"median ms per image, {measurements[0].threads} thread(s)", ylabel="accuracy, %")
    axes.legend()
    write_figure(path, figure)
    return True


if __name__ == "__main__":
    run(main, parser)
