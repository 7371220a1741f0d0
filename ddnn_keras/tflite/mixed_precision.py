"""Keeps as few layers of an int8 file in float32 as its accuracy needs."""

import dataclasses

import numpy as np

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.tflite.convert import calibrated, quantized
from ddnn_keras.tflite.layer_errors import layer_errors

TRACED = 50  # images on which layers are compared


def layers_to_keep(subnets, mode, calibration_images, images, labels, max_drop):
    """The layers to keep in float32, so that no sub-net loses more accuracy than allowed.

    The layers that add most noise are taken, twice as many each time, until they suffice. Then each one that can go
    without a loss goes. Layers of a chain may help together alone: between two kept ones nothing is rounded.

    Accuracy is measured on `images` with `labels`. They should be validation images, because a file is verified on test
    images. `max_drop` is a fraction; one image may always be lost.
    """
    networks = [(calibrated(subnet, mode, calibration_images), subnet) for subnet in subnets.values()]
    references = [num_correct(content, images, labels) for content, _ in networks]

    def files(kept):
        changed = dataclasses.replace(mode, kept=tuple(kept))
        return [quantized(content, subnet, changed, calibration_images) for content, subnet in networks]

    def suffices(kept):
        lost = (before - num_correct(file, images, labels) for before, file in zip(references, files(kept)))
        return max(lost) <= max(1, max_drop * len(labels))

    added = {}
    for file, (content, subnet) in zip(files([]), networks):
        for found in layer_errors(file, content, subnet, images[:TRACED]):
            # What follows a layer and has no weights is kept with it.
            name = found.name.split(" ")[0]
            added[name] = max(added.get(name, 0.0), found.added)
    added.pop("image", None)  # what comes before the first layer, unless nothing is done to pixels
    ranked = sorted(added, key=added.get, reverse=True)
    count = 0
    while count < len(ranked) and not suffices(ranked[:count]):
        count = max(1, 2 * count)
    kept = ranked[:count]
    for layer in kept[::-1]:
        fewer = [name for name in kept if name != layer]
        kept = fewer if suffices(fewer) else kept
    return kept


def num_correct(content, images, labels):
    """On how many images a file gives the right class."""
    return int(np.sum(LiteModel(content)(images).argmax(-1) == labels))
