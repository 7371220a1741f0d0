"""A split that is held in memory."""

import numpy as np
import tensorflow as tf


class InMemory:
    """A split whose images, or the paths of whose files, are held in memory.

    Args:
        images: Array of shape `(n, height, width, channels)` with pixels from 0 to 255, or of n paths.
        labels: n integers.
    """

    def __init__(self, images, labels):
        with tf.device("CPU"):  # where pipelines run, whatever trains the model
            self.images = tf.constant(images)
            self.labels = tf.constant(labels, tf.int32)

    def __len__(self):
        return len(self.labels)

    def sample(self, count, seed):
        """The split of `count` of these images, which `seed`, an integer, chooses."""
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        return InMemory(tf.gather(self.images, chosen), tf.gather(self.labels, chosen))

    def ordered(self):
        """A dataset of images and labels in the order in which they were given."""
        return tf.data.Dataset.from_tensor_slices((self.images, self.labels))

    def shuffled(self, seed):
        """A dataset of images and labels in the order that `seed`, two integers, stands for."""
        order = tf.random.experimental.stateless_shuffle(tf.range(len(self)), seed)
        # One gather an epoch is several times faster than a lookup for every image.
        return tf.data.Dataset.from_tensor_slices((tf.gather(self.images, order), tf.gather(self.labels, order)))
