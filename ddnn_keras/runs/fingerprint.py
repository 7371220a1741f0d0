"""Whether runs of a comparison or a search had the same images: others cannot be compared."""

import itertools
import math
import zlib

import numpy as np

# Batches of 100 of the validation images.
LOOKED_AT = 10


def fingerprint(images):
    """The number of images, their shape, and of the first validation images the labels' checksum and the mean pixel."""
    batches = itertools.islice(images.validation(100), LOOKED_AT)
    means, labels = zip(*((np.mean(pixels, dtype="float64"), np.asarray(of, "int64")) for pixels, of in batches))
    return {
        "train": images.num_train,
        "validation": images.num_validation,
        "test": images.num_test,
        "crc32_of_labels": zlib.crc32(np.concatenate(labels).tobytes()),
        "image_shape": list(images.image_shape),
        "mean_pixel": float(np.mean(means)),
    }


def is_same(kept, data):
    """Whether a kept fingerprint is `data`, as far as it goes; means may be rounded in another way."""
    means = kept.get("mean_pixel", data["mean_pixel"]), data["mean_pixel"]
    others = kept.keys() & data.keys() - {"mean_pixel"}
    return math.isclose(*means, rel_tol=1e-5) and all(kept[name] == data[name] for name in others)
