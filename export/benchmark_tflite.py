"""Times .tflite files on this device: every depth of every file, in turns, beside each other.

NumPy and ai-edge-litert are all it needs (matplotlib for the picture). For example:

    python export/benchmark_tflite.py bundle_int8.tflite bundle.tflite
    python export/benchmark_tflite.py plain_18.tflite depth_18.tflite --runs 200
"""

import argparse
import csv
import dataclasses
import os
import pathlib

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer, run
from ddnn_keras.runtime.benchmark import Measurement, benchmark
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("models", nargs="+", help=".tflite files; times are relative to the first", default=argparse.SUPPRESS)
    add("--threads", type=positive_integer, default=1, help="CPU threads")
    add("--runs", type=positive_integer, default=100, help="timed runs of each network")
    add("--warm-up", type=non_negative_integer, default=10, help="runs before that, at each of ten openings")
    add("--output", default="benchmark", help="CSV and, with matplotlib, picture are written under this name")
    return parser


def main(arguments):
    """Measures, prints and writes."""
    if not os.path.basename(arguments.output).strip("."):
        raise ValueError(f"--output must be a name for files, not a folder. Received: {arguments.output}")
    measurements = benchmark(arguments.models, arguments.threads, arguments.runs, arguments.warm_up)
    print_table(measurements)
    path = pathlib.Path(f"{arguments.output}.csv")
    write_csv(measurements, path)
    print(f"Table: {path}")
    if any(found.accuracy != "" for found in measurements) and draw(measurements, f"{arguments.output}.png"):
        print(f"Picture: {arguments.output}.png")


def print_table(measurements):
    """The measurements, in columns."""
    columns = ("median ms", "p90 ms", "relative", "load ms", "peak MB", "accuracy")
    width = max(len(name_of(found)) for found in measurements)
    print(" " * width, *(f"{column:>10}" for column in columns))
    for found in measurements:
        accuracy = "" if found.accuracy == "" else f"{found.accuracy:.2%}"
        numbers = (found.median_ms, found.p90_ms, found.relative, found.load_ms, found.peak_mb)
        print(f"{name_of(found):{width}}", *(f"{number:10.3f}" for number in numbers), f"{accuracy:>10}")


def name_of(found):
    """A network by file and, in a bundle, depth; in a file that names no depths, by signature."""
    signature = "" if found.signature == DEFAULT_SIGNATURE else found.signature
    return f"{found.file} {found.depth or signature}".strip()


def write_csv(measurements, path):
    """All numbers as a CSV file."""
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Measurement)])
        writer.writeheader()
        writer.writerows(map(dataclasses.asdict, measurements))


def lines(measurements):
    """The networks of one file together, as often as it was given."""
    found = []
    for measurement in measurements:
        start = found and found[-1][0]
        if not start or measurement.file != start.file or measurement.signature == start.signature:
            found.append([])
        found[-1].append(measurement)
    return found


def draw(measurements, path):
    """Accuracy against latency, a line for each file; whether there was matplotlib to draw with."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for points in lines(found for found in measurements if found.accuracy != ""):
        axes.plot([p.median_ms for p in points], [100 * p.accuracy for p in points], "o-", label=points[0].file)
        for point in points:
            axes.annotate(str(point.depth), (point.median_ms, 100 * point.accuracy), (4, 4), textcoords="offset points")
    axes.set(xlabel=f"median ms per image, {measurements[0].threads} thread(s)", ylabel="accuracy, %")
    axes.legend()
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
    return True


if __name__ == "__main__":
    run(main, argument_parser())
