"""Whether two runs had the same images: runs that did not cannot be compared."""

import zlib

import numpy as np


def fingerprint(images):
    """What tells a data set from another of the same name: how many images, and labels of those for validation."""
    _, labels = next(iter(images.validation(1000)))
    sizes = {"train": images.num_train, "validation": images.num_validation, "test": images.num_test}
    return {**sizes, "crc32_of_labels": zlib.crc32(np.asarray(labels, "int64").tobytes())}


def check_data(records, data, arguments):
    """Raises a `ValueError` if a run was trained on other images of the same name; earlier records do not say."""
    for record in records:
        if record.get("data", data) != data:
            raise ValueError(
                f"--dataset {arguments.dataset} has other images than the run {record['name']} in {arguments.output} "
                "was trained on: choose another folder."
            )
