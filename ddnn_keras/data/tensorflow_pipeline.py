"""Pipelines of tf.data: for training on TensorFlow, and for all that is read from files."""

import tensorflow as tf

from ddnn_keras.data.augmentation import PARALLEL, PadAndCrop, RandomResizedCrop
from ddnn_keras.data.image_data import ImageData, check_batch_size, check_seed


class TFPipelines(ImageData):
    """An `ImageData` whose pipelines are instances of `tf.data.Dataset`."""

    def __init__(self, name, source, image_size=None, mirror=None):
        super().__init__(name, source, image_size, mirror)
        size = self.image_shape[:2]
        self._augmentation = (
            PadAndCrop(size, self._own_size, self.mirror) if self._own_size else RandomResizedCrop(size, self.mirror)
        )

    def train(self, batch_size, seed=0, first_epoch=0):
        """See `ImageData`."""
        check_seed(seed)
        epoch_size = self.steps_per_epoch(batch_size) * batch_size
        order_seed, variation_seed = tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64), 2))

        def shuffled(epoch):
            return self._source.train.shuffled(tf.random.fold_in(order_seed, epoch)).take(epoch_size)

        examples = self._decoded(tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(shuffled))
        batches = self._augmentation.train(examples, batch_size, variation_seed, start=first_epoch * epoch_size)
        return batches.prefetch(tf.data.AUTOTUNE)

    def validation(self, batch_size):
        """See `ImageData`."""
        return self._evaluation(self._source.validation.ordered(), batch_size)

    def test(self, batch_size):
        """See `ImageData`."""
        return self._evaluation(self._source.test.ordered(), batch_size)

    def _shuffled(self, split, count):
        examples = split.shuffled(tf.constant([0, 0], tf.int64)).take(count)
        return next(iter(self._evaluation(examples, batch_size=count)))

    def _evaluation(self, examples, batch_size):
        check_batch_size(batch_size)
        return self._augmentation.evaluate(self._decoded(examples), batch_size).prefetch(tf.data.AUTOTUNE)

    def _decoded(self, examples):
        source = self._source
        if source.decode is None:
            return examples
        return examples.map(
            lambda image, label: (tf.ensure_shape(source.decode(image), source.shape), label), **PARALLEL
        )
