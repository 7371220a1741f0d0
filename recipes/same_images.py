"""Whether two runs had the same images: runs that did not cannot be compared."""

import itertools
import math
import zlib

import numpy as np

# Batches of 100 of the validation images.
LOOKED_AT = 10


def fingerprint(images):
    """What tells a data set from another of the same name.

    Args:
        images: A `ddnn_keras.data.ImageData`.

    Returns:
        A dict: how many images there are, their shape, and of the first 1,000 validation images the checksum of labels
        and the mean of pixels.
    """
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


def data_facts(images):
    """What a run keeps of its images, at no cost: a dict."""
    return {
        "class_names": images.class_names,
        "image_shape": list(images.image_shape),
        "num_images": {"train": images.num_train, "validation": images.num_validation, "test": images.num_test},
    }


def check_run(run_directory, images):
    """Raises a `ValueError` if a run was trained on other images than these, as far as its configuration says.

    Where images were added, others are held out for validation and test, so that the run has seen some of them.
    """
    config = run_directory.read_config()
    for name, value in data_facts(images).items():
        if config.get(name, value) != value:
            raise ValueError(
                f"{run_directory.path} was trained on images whose {name} was {config[name]}. Now it is {value}."
            )


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
