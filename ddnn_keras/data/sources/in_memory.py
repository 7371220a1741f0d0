"""A split that is held in memory."""

import functools
import math

import numpy as np

# All splits of a data set together.
IN_MEMORY_BYTES = 2**30


class InMemory:
    """A split of images with pixels from 0 to 255, or of paths of image files, and of integer labels."""

    def __init__(self, images, labels):
        self.images = np.asarray(images)
        self.labels = np.asarray(labels, np.int32)

    def __len__(self):
        return len(self.labels)

    def sample(self, count, seed):
        """The split of `count` of these images, which `seed`, an integer, chooses."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return InMemory(self.images[chosen], self.labels[chosen])

    def ordered(self):
        """A `tf.data.Dataset` of images and labels in the order in which they were given."""
        import tensorflow as tf  # who trains on another backend need not have it

        return tf.data.Dataset.from_tensor_slices(self._tensors)

    def shuffled(self, seed):
        """A `tf.data.Dataset` of images and labels in the order that `seed`, two integers, stands for."""
        import tensorflow as tf

        order = tf.random.experimental.stateless_shuffle(tf.range(len(self)), seed)
        # One gather an epoch is several times faster than a lookup for every image.
        return tf.data.Dataset.from_tensor_slices(tuple(tf.gather(tensor, order) for tensor in self._tensors))

    @functools.cached_property
    def _tensors(self):
        import tensorflow as tf

        # Outside of any function that is being traced, and where pipelines run, whatever trains the model.
        with tf.init_scope(), tf.device("CPU"):
            return tf.constant(self.images), tf.constant(self.labels)


def fits_in_memory(count, shape):
    """Whether images are decoded once and kept: if they have one size and are not too large together."""
    return None not in shape and count * math.prod(shape) <= IN_MEMORY_BYTES
