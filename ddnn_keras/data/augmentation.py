"""The two usual ways to vary training images, and how images are shown in evaluation.

Every random choice is a function of a seed and of a number: that of the image, or that of the batch, in the training.
So a training that is taken up again sees what it would have seen.
"""

import tensorflow as tf

from ddnn_keras.data.crops import centre_box, size_before_crop

PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


class PadAndCrop:
    """For images of one size, often small: shifts each by up to an eighth, and mirrors it where allowed.

    As for CIFAR since "Deeply-Supervised Nets" (https://arxiv.org/abs/1409.5185): 32x32 images are padded by 4 zeros
    on every side, and cropped at random.

    Args:
        size: `(height, width)` that the model sees. Of images of another size the centre, as large as fits, is resized
            first, bilinearly.
        own_size: `(height, width)` of the images.
        mirror: Whether to mirror half of them.
    """

    def __init__(self, size, own_size, mirror):
        self.size = tuple(size)
        self.own_size = tuple(own_size)
        self.mirror = mirror

    def train(self, examples, batch_size, seed, start):
        """Batches of varied images.

        Args:
            examples: Dataset of images and labels.
            batch_size: Images in a batch.
            seed: Two integers, as a tensor.
            start: How many images the training has seen before; a multiple of `batch_size`.
        """

        def vary(step, batch):
            images, labels = batch
            shift_seed, mirror_seed = tf.unstack(tf.random.split(tf.random.fold_in(seed, step), 2))
            images = random_shift(self._resized(images), shift_seed)
            if self.mirror:
                images = tf.image.stateless_random_flip_left_right(images, mirror_seed)
            return tf.cast(images, tf.float32), labels

        # By the batch: that is several times faster than image by image, and as random.
        batches = examples.batch(batch_size, drop_remainder=True)
        return batches.enumerate(start // batch_size).map(vary, **PARALLEL)

    def evaluate(self, examples, batch_size):
        """Batches of the images as they are."""
        batches = examples.batch(batch_size)
        return batches.map(lambda images, labels: (tf.cast(self._resized(images), tf.float32), labels), **PARALLEL)

    def _resized(self, images):
        if self.size == self.own_size:
            return images
        rows, columns = centre_box(self.own_size, self.size)
        centres = images[:, rows, columns]
        # Enlarging needs no antialiasing, which is slow.
        return resize(centres, self.size, antialias=self.size[0] < centres.shape[1])


class RandomResizedCrop:
    """For images of any size: crops a random part, resizes it, and mirrors it where allowed.

    As "Going Deeper with Convolutions" (https://arxiv.org/abs/1409.4842) did for ImageNet: from 8 % of an image to all
    of it, with an aspect ratio from 3/4 to 4/3. Evaluation shows the centre, about 224/256 of the shorter side.

    Args:
        size: `(height, width)` that the model sees.
        mirror: Whether to mirror half of the images.
    """

    def __init__(self, size, mirror):
        self.size = tuple(size)
        self.mirror = mirror

    def train(self, examples, batch_size, seed, start):
        """Batches of varied images, with the arguments of `PadAndCrop.train`."""

        def vary(number, example):
            image, label = example
            crop_seed, mirror_seed = tf.unstack(tf.random.split(tf.random.fold_in(seed, number), 2))
            image = random_resized_crop(image, self.size, crop_seed)
            if self.mirror:
                image = tf.image.stateless_random_flip_left_right(image, mirror_seed)
            return image, label

        return examples.enumerate(start).map(vary, **PARALLEL).batch(batch_size, drop_remainder=True)

    def evaluate(self, examples, batch_size):
        """Batches of the images' centres."""
        centres = examples.map(lambda image, label: (resized_centre(image, self.size), label), **PARALLEL)
        return centres.batch(batch_size)


def random_shift(images, seed):
    """Shifts each image by up to an eighth of its size and fills with zeros.

    Args:
        images: Shape `(batch, height, width, channels)`.
        seed: Two integers.

    Returns:
        A tensor like `images`.

    Example:
    >>> images = tf.ones((1, 8, 8, 1))
    >>> float(tf.reduce_min(random_shift(images, seed=(0, 1)))), float(tf.reduce_max(random_shift(images, (0, 1))))
    (0.0, 1.0)
    """
    _, height, width, _ = images.shape
    pad_y, pad_x = height // 8, width // 8
    padded = tf.pad(images, ((0, 0), (pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    row_seed, column_seed = tf.unstack(tf.random.split(seed, 2))
    first_row = tf.random.stateless_uniform((len(images), 1), row_seed, maxval=2 * pad_y + 1, dtype=tf.int32)
    first_column = tf.random.stateless_uniform((len(images), 1), column_seed, maxval=2 * pad_x + 1, dtype=tf.int32)
    rows = tf.gather(padded, first_row + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, first_column + tf.range(width), axis=2, batch_dims=1)


def random_resized_crop(image, size, seed):
    """A random part of `image`, of shape `(height, width, channels)`, resized to `size`; float32."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),  # nothing in particular has to be covered
        seed=seed,
        min_object_covered=0.0,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
    )
    return resize(tf.ensure_shape(tf.slice(image, begin, extent), (None, None, image.shape[-1])), size)


def resized_centre(image, size):
    """The centre of `image`, of shape `(height, width, channels)`, resized so that little is cut off; float32."""
    target = size_before_crop(max(size))
    height_and_width = tf.shape(image)[:2]
    shorter = tf.reduce_min(height_and_width)
    # Cut first, to a square or a pixel more, with the same middle: a long and thin image would take all memory.
    extent = shorter + (height_and_width - shorter) % 2
    start = (height_and_width - extent) // 2
    centre = tf.slice(image, tf.concat([start, [0]], 0), tf.concat([extent, [-1]], 0))
    centre = resize(tf.ensure_shape(centre, (None, None, image.shape[-1])), extent * target // shorter)
    return tf.image.resize_with_crop_or_pad(centre, *size)


def resize(images, size, antialias=True):
    """Bilinearly resized images, as float32 from 0 to 255."""
    # Antialiasing overshoots 255 by a rounding error.
    return tf.clip_by_value(tf.image.resize(images, size, antialias=antialias), 0.0, 255.0)
