"""Which images are held out from training."""

import numpy as np


def held_out_count(count, fraction):
    """How many of `count` images `fraction` holds out: at least one, and never all."""
    held_out = max(1, round(count * fraction))
    if held_out >= count:
        raise ValueError(
            f"Holding out the fraction {fraction} leaves none of {count} images to train on: "
            "use a smaller `validation_fraction`, or more images."
        )
    return held_out


def hold_out_by_class(labels, fraction, seed):
    """Increasing indices of the images that are kept, and of those that are held out: a fraction of every class.

    A class of two images or more gives at least one and keeps at least one.

    Example:
    >>> hold_out_by_class(np.array([0, 0, 0, 0, 1, 1, 2]), 0.25, seed=0)
    (array([0, 1, 3, 5, 6]), array([2, 4]))
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    classes = np.split(by_class, np.flatnonzero(np.diff(labels[by_class])) + 1)
    counts = [min(max(1, round(len(images) * fraction)), len(images) - 1) for images in classes]
    held_out = np.sort(np.concatenate([images[:count] for images, count in zip(classes, counts)]))
    if not len(held_out):
        raise ValueError(
            "No class has an image that can be held out: one must have 2, or 3 where test images are held out as well."
        )
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out
