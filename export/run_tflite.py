"""Classifies image files with a .tflite file. Needs NumPy, Pillow and ai-edge-litert alone.

For example:

    python export/run_tflite.py depth_18.tflite photo.jpg
    python export/run_tflite.py bundle_int8.tflite --depth 18 photo.jpg
"""

import argparse

from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.image_file import read_image

parser = ArgumentParser(__doc__)
parser.add_argument("model", help="a .tflite file", default=argparse.SUPPRESS)
parser.add_argument("images", nargs="+", help="image files", default=argparse.SUPPRESS)
parser.add_argument("--depth", help="a depth of a bundle; by default the deepest")
parser.add_argument("--top", type=positive_integer, default=3, help="how many classes to print")
parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads")


def main(arguments):
    runtime = Runtime(arguments.model, arguments.threads)
    depth = {str(depth): depth for depth in runtime.depths}.get(arguments.depth, arguments.depth)
    for path in arguments.images:
        prediction = runtime.predict(read_image(path, runtime.image_shape, runtime.crop_pct), depth)
        best = prediction.probabilities.argsort()[::-1][: arguments.top]
        classes = ", ".join(f"{runtime.labels[index]} {prediction.probabilities[index]:.1%}" for index in best)
        print(f"{path}: {classes} ({prediction.milliseconds:.1f} ms)")


if __name__ == "__main__":
    run(main, parser)
