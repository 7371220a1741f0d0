"""Real images that come with an installed package: scikit-learn's handwritten digits."""

import numpy as np

from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.splits import held_out_count

TEST_IMAGES = 360
DEFAULT_SIZE = (16, 16)


def read(location, options):
    """Part of the "Optical Recognition of Handwritten Digits" (https://doi.org/10.24432/C50P49).

    1,797 images of 8x8 pixels with values from 0 to 16, rescaled to 0 to 255, and by default enlarged to 16x16. The
    test split is the last 360 in the file's order. That order follows the writers, so nobody who wrote a test image
    wrote a training image, except perhaps the one at the border. A random split would be easier.
    """
    from sklearn.datasets import load_digits  # nothing else needs scikit-learn

    digits = load_digits()
    images = (digits.images[..., np.newaxis] * (255 / 16)).astype(np.float32)
    labels = digits.target
    order = np.random.default_rng(options.seed).permutation(len(images) - TEST_IMAGES)
    held_out = held_out_count(len(order), options.validation_fraction)
    kept, validation = np.sort(order[held_out:]), np.sort(order[:held_out])
    return Source(
        train=InMemory(images[kept], labels[kept]),
        validation=InMemory(images[validation], labels[validation]),
        test=InMemory(images[-TEST_IMAGES:], labels[-TEST_IMAGES:]),
        class_names=[str(name) for name in digits.target_names],
        shape=images.shape[1:],
        default_size=DEFAULT_SIZE,
    )
