"""Which images are held out from training."""

import numpy as np


def held_out_count(count, fraction):
    """How many of `count` images `fraction` holds out: at least one, and never all.

    Example:
    >>> held_out_count(50_000, 0.1)
    5000
    """
    held_out = max(1, round(count * fraction))
    if held_out >= count:
        raise ValueError(
            f"Holding out the fraction {fraction} leaves none of {count} images to train on: "
            "use a smaller `validation_fraction`, or more images."
        )
    return held_out


def hold_out(count, fraction, seed):
    """Increasing indices of the images that are kept, and of those that are held out.

    Example:
    >>> hold_out(5, 0.4, seed=0)
    (array([0, 1, 3]), array([2, 4]))
    """
    held_out = held_out_count(count, fraction)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
