"""Classifies image files with a .tflite file.

For example:

    python export/run_tflite.py depth_18.tflite photo.jpg
    python export/run_tflite.py bundle_int8.tflite --depth 18 photo.jpg
"""

import argparse
import time

import numpy as np
from PIL import Image, ImageOps

from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.runtime.image_file import MODES, open_image
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import named_depths, read_metadata


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("model", help="a .tflite file", default=argparse.SUPPRESS)
    parser.add_argument("images", nargs="+", help="image files", default=argparse.SUPPRESS)
    parser.add_argument("--depth", help="a depth of a bundle; by default the deepest")
    parser.add_argument("--top", type=positive_integer, default=3, help="how many classes to print")
    parser.add_argument("--threads", type=positive_integer, default=1, help="CPU threads")
    return parser


def main(arguments):
    """Prints the likeliest classes of each image, and how long the network took."""
    facts = read_metadata(arguments.model)
    signature = chosen_signature(facts, arguments.depth)
    model = LiteModel(arguments.model, signature, num_threads=arguments.threads)
    labels = facts.get("labels") or range(model.output.shape[-1])
    # Not in files of before this was told.
    crop_pct = facts.get("crop_pct", 1.0)
    for path in arguments.images:
        image = model.input.encode(read_image(path, model.input.shape[1:], crop_pct)[np.newaxis])
        start = time.perf_counter()
        result = model.invoke(image)
        milliseconds = 1000 * (time.perf_counter() - start)
        probabilities = softmax(model.output.decode(result)[0])
        best = np.argsort(-probabilities)[: arguments.top]
        classes = ", ".join(f"{labels[index]} {probabilities[index]:.1%}" for index in best)
        print(f"{path}: {classes} ({milliseconds:.1f} ms)")


def chosen_signature(facts, depth):
    """The signature of a depth, or of the deepest for `None`."""
    signatures = {str(known): signature for signature, known in named_depths(facts).items()}
    if depth is None:
        return list(signatures.values())[-1] if signatures else None
    if depth not in signatures:
        raise ValueError(f"--depth must be one of {', '.join(signatures) or 'none at all'}. Received: {depth}")
    return signatures[depth]


def read_image(path, shape, crop_pct=1.0):
    """Raw pixels of an image file, at the network's size and number of channels: its centre, as in evaluation.

    Args:
        path: Of the file.
        shape: `(height, width, channels)` that the network takes.
        crop_pct: The share of the shorter side that is shown. An image of the network's size is shown whole.
    """
    height, width, channels = shape
    if channels not in MODES:
        raise ValueError(f"The network must take 1 or 3 channels to read image files for it. Received: {channels}")
    whole = open_image(path, channels)
    border = 0.0 if whole.size == (width, height) else (1 - crop_pct) / 2
    image = ImageOps.fit(whole, (width, height), Image.Resampling.BILINEAR, bleed=border)
    return np.asarray(image, "float32").reshape(shape)


def softmax(logits):
    """Probabilities."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


if __name__ == "__main__":
    run(main, argument_parser())
