"""Pipelines of Keras' own backend: arrays lie on the device that trains, and are varied there.

They need no TensorFlow, and on a GPU no image crosses from host to device while training. Random numbers come from
NumPy, so that all backends see the same images.
"""

import itertools
import math

import keras
import numpy as np
from keras import ops

from ddnn_keras.data.crops import centre_box
from ddnn_keras.data.image_data import ImageData

# Images are resized this many at a time.
RESIZE_BATCH = 1024

ORDER, VARIATION = 1, 2


class BackendPipelines(ImageData):
    """An `ImageData` of arrays, for any backend: `train` gives a generator, the others a `keras.utils.PyDataset`."""

    def __init__(self, name, source, image_size=None, mirror=None):
        super().__init__(name, source, image_size, mirror)
        self._arrays = {
            split: self._on_device(split.images, split.labels)
            for split in (source.train, source.validation, source.test)
        }

    def train(self, batch_size, seed=0, first_epoch=0):
        """See `ImageData`."""
        return self._batches(self.steps_per_epoch(batch_size), batch_size, seed, first_epoch)

    def _in_order(self, split, batch_size):
        return InOrder(*self._arrays[split], batch_size)

    def _batches(self, steps, batch_size, seed, first_epoch):
        images, labels = self._arrays[self._source.train]
        for epoch in itertools.count(first_epoch):
            # The last numbers tell the two uses apart. Not 0: NumPy takes (1, 0) for the same seed as (1,).
            order = np.random.default_rng((seed, epoch, 0, ORDER)).permutation(self.num_train)
            for step in range(steps):
                chosen = order[step * batch_size : (step + 1) * batch_size]
                random = np.random.default_rng((seed, epoch, step, VARIATION))
                yield varied(ops.take(images, chosen, axis=0), self.mirror, random), ops.take(labels, chosen, axis=0)

    def _shuffled(self, split, count):
        chosen = np.random.default_rng(0).permutation(len(split))[:count]
        images, labels = (ops.take(array, chosen, axis=0) for array in self._arrays[split])
        return ops.convert_to_numpy(ops.cast(images, "float32")), ops.convert_to_numpy(labels)

    def _on_device(self, images, labels):
        size = self.image_shape[:2]
        if images.shape[1:3] != size:
            rows, columns = centre_box(images.shape[1:3], size)
            batches = np.array_split(images[:, rows, columns], math.ceil(len(images) / RESIZE_BATCH))
            images = np.concatenate([resized(batch, size) for batch in batches])
        return ops.convert_to_tensor(images), ops.convert_to_tensor(labels)


class InOrder(keras.utils.PyDataset):
    """Batches of images and labels as they are."""

    def __init__(self, images, labels, batch_size):
        super().__init__()
        self._images, self._labels, self._batch_size = images, labels, batch_size

    def __len__(self):
        return math.ceil(len(self._labels) / self._batch_size)

    def __getitem__(self, index):
        batch = slice(index * self._batch_size, (index + 1) * self._batch_size)
        return ops.cast(self._images[batch], "float32"), self._labels[batch]


def varied(images, mirror, random):
    """A batch varied like `tensorflow_pipeline.random_shift` does, half of it mirrored if `mirror`; as float32."""
    count, height, width, channels = images.shape
    pad_y, pad_x = height // 8, width // 8
    padded = ops.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    rows = random.integers(0, 2 * pad_y + 1, (count, 1)) + np.arange(height)
    columns = random.integers(0, 2 * pad_x + 1, (count, 1)) + np.arange(width)
    if mirror:
        columns = np.where(random.random((count, 1)) < 0.5, columns, columns[:, ::-1])
    # One gather for both axes, from images whose positions are in one.
    positions = rows[:, :, np.newaxis] * (width + 2 * pad_x) + columns[:, np.newaxis, :]
    flat = ops.reshape(padded, (count, -1, channels))
    gathered = ops.take_along_axis(flat, positions.reshape(count, -1, 1).astype("int32"), axis=1)
    return ops.cast(ops.reshape(gathered, images.shape), "float32")


def resized(images, size):
    """Bilinearly resized images as a float32 array, like `tensorflow_pipeline.resize`."""
    # Enlarging needs no antialiasing.
    antialias = size[0] < images.shape[1]
    tensor = ops.image.resize(images.astype("float32"), size, antialias=antialias, data_format="channels_last")
    return ops.convert_to_numpy(ops.clip(tensor, 0.0, 255.0))
