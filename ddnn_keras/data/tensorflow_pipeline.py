"""Pipelines of tf.data: for training on TensorFlow, and for all that is read from files.

Every random choice follows from the seed and from the number of an image or of a batch in the training. So a training
that is resumed sees what it would have seen.
"""

import tensorflow as tf

from ddnn_keras.data.crops import centre_box, size_before_crop
from ddnn_keras.data.image_data import LARGEST_OWN_SIZE, ImageData

PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


class TFPipelines(ImageData):
    """An `ImageData` whose pipelines are instances of `tf.data.Dataset`.

    Images of one size are shifted by up to an eighth, as is usual for CIFAR since "Deeply-Supervised Nets"
    (https://arxiv.org/abs/1409.5185). Of images of any size a random part is cropped and resized, as "Going Deeper with
    Convolutions" (https://arxiv.org/abs/1409.4842) did for ImageNet.
    """

    def train(self, batch_size, seed=0, first_epoch=0):
        """See `ImageData`."""
        epoch_size = self.steps_per_epoch(batch_size) * batch_size
        order_seed, variation_seed = tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64), 2))

        def shuffled(epoch):
            return self._source.train.shuffled(tf.random.fold_in(order_seed, epoch)).take(epoch_size)

        def varied(number, example):
            return self._varied(example, variation_seed, number)

        examples = tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(shuffled)
        return self._batches(examples, varied, batch_size, first_epoch * epoch_size, drop_remainder=True)

    def _in_order(self, split, batch_size):
        return self._batches(split.ordered(), self._shown, batch_size)

    def _shuffled(self, split, count):
        examples = split.shuffled(tf.constant([0, 0], tf.int64)).take(count)
        return next(iter(self._batches(examples, self._shown, batch_size=count)))

    def _batches(self, examples, change, batch_size, start=0, drop_remainder=False):
        """Batches of changed examples. Whole batches are several times faster than single images, and as random."""
        examples = self._decoded(examples)
        if self._own_size:
            batches = examples.batch(batch_size, drop_remainder).enumerate(start // batch_size).map(change, **PARALLEL)
        else:
            batches = examples.enumerate(start).map(change, **PARALLEL).batch(batch_size, drop_remainder)
        return batches.prefetch(tf.data.AUTOTUNE)

    def _decoded(self, examples):
        source = self._source
        is_large = self._own_size and max(self._own_size) > LARGEST_OWN_SIZE
        if source.decode is None and not is_large:
            return examples

        def decoded(image, label):
            pixels = image if source.decode is None else tf.ensure_shape(source.decode(image), source.shape)
            # Photos of a phone must be small before there is a batch of them.
            return resized_middle(pixels[tf.newaxis], self.image_shape[:2])[0] if self._own_size else pixels, label

        return examples.map(decoded, **PARALLEL)

    def _varied(self, example, seed, number):
        """A batch of images of one size, or one image of any size, as training sees it."""
        images, labels = example
        part_seed, mirror_seed = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 2))
        if self._own_size:
            images = random_shift(resized_middle(images, self.image_shape[:2]), part_seed)
        else:
            images = random_resized_crop(images, self.image_shape[:2], part_seed)
        if self.mirror:
            images = tf.image.stateless_random_flip_left_right(images, mirror_seed)
        return tf.cast(images, tf.float32), labels

    def _shown(self, number, example):
        """A batch of images of one size, or one image of any size, as evaluation sees it."""
        images, labels = example
        shown = resized_middle if self._own_size else resized_centre
        return tf.cast(shown(images, self.image_shape[:2]), tf.float32), labels


def random_shift(images, seed):
    """Shifts each image of a batch by up to an eighth of its size and fills with zeros."""
    _, height, width, _ = images.shape
    pad_y, pad_x = height // 8, width // 8
    padded = tf.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    row_seed, column_seed = tf.unstack(tf.random.split(seed, 2))
    first_row = tf.random.stateless_uniform((len(images), 1), row_seed, maxval=2 * pad_y + 1, dtype=tf.int32)
    first_column = tf.random.stateless_uniform((len(images), 1), column_seed, maxval=2 * pad_x + 1, dtype=tf.int32)
    rows = tf.gather(padded, first_row + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, first_column + tf.range(width), axis=2, batch_dims=1)


def random_resized_crop(image, size, seed):
    """A random part of an image, from 8 % of it to all, with an aspect ratio from 3/4 to 4/3, resized to `size`."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),  # nothing in particular has to be covered
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
    )
    return resize(tf.ensure_shape(tf.slice(image, begin, extent), (None, None, image.shape[-1])), size)


def resized_middle(images, size):
    """A batch of images, cut to the aspect ratio of `size` and resized; as it is if it has that size."""
    own_size = images.shape[1:3]
    if own_size == size:
        return images
    rows, columns = centre_box(own_size, size)
    middle = images[:, rows, columns]
    # Enlarging needs no antialiasing, which is slow.
    return resize(middle, size, antialias=size[0] < middle.shape[1])


def resized_centre(image, size):
    """The centre of one image, about 224/256 of its shorter side, resized to `size`."""
    target = size_before_crop(max(size))
    height_and_width = tf.shape(image)[:2]
    shorter = tf.reduce_min(height_and_width)
    # Cut to a square first, or to a pixel more with the same middle: a long and thin image would take all memory.
    extent = shorter + (height_and_width - shorter) % 2
    start = (height_and_width - extent) // 2
    centre = tf.slice(image, tf.concat([start, [0]], 0), tf.concat([extent, [-1]], 0))
    centre = resize(tf.ensure_shape(centre, (None, None, image.shape[-1])), extent * target // shorter)
    return tf.image.resize_with_crop_or_pad(centre, *size)


def resize(images, size, antialias=True):
    """Bilinearly resized images, as float32 from 0 to 255."""
    # Antialiasing overshoots 255 by a rounding error.
    return tf.clip_by_value(tf.image.resize(images, size, antialias=antialias), 0.0, 255.0)
