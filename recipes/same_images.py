"""Whether two runs had the same images: runs that did not cannot be compared."""

import itertools
import math
import zlib

import numpy as np

# Batches of 100 of the validation images: their labels, and how bright the first are.
LOOKED_AT = 10


def fingerprint(images):
    """What tells a data set from another of the same name.

    Args:
        images: A `ddnn_keras.data.ImageData`.

    Returns:
        A dict: how many images there are, their shape, and of the first validation images the checksum of 1,000 labels
        and the mean of 100 images' pixels.
    """
    batches = list(itertools.islice(images.validation(100), LOOKED_AT))
    labels = np.concatenate([np.asarray(labels, "int64") for _, labels in batches])
    return {
        "train": images.num_train,
        "validation": images.num_validation,
        "test": images.num_test,
        "crc32_of_labels": zlib.crc32(labels.tobytes()),
        "image_shape": list(images.image_shape),
        "mean_pixel": float(np.asarray(batches[0][0], "float64").mean()),
    }


def check_data(records, data, arguments):
    """Raises a `ValueError` if a run was trained on other images of the same name, as far as its record says."""
    for record in records:
        if not all(is_same(record.get("data", {}).get(name, value), value) for name, value in data.items()):
            raise ValueError(
                f"--dataset {arguments.dataset} has other images than the run {record['name']} in {arguments.output} "
                "was trained on: choose another folder."
            )


def is_same(one, other):
    """Whether two values of fingerprints are of the same images: means of pixels may be rounded in another way."""
    return math.isclose(one, other, rel_tol=1e-5) if isinstance(other, float) else one == other
