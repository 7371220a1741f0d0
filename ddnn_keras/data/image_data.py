"""A data set as a model sees it."""

import abc

import numpy as np

from ddnn_keras.data.crops import size_before_crop
from ddnn_keras.depths import is_positive_integer

DEFAULT_SIZE = (224, 224)
LARGEST_OWN_SIZE = 512  # pixels; of a camera's photos, a network would take all memory


class ImageData(abc.ABC):
    """Labelled images in three splits, and their pipelines. `ddnn_keras.data.load` makes it.

    Every pipeline gives float32 images of shape `(batch, height, width, channels)`, from 0 to 255, and int32 labels
    of shape `(batch,)`, in a form that `fit` and `evaluate` take. There are two kinds of pipelines:
    `ddnn_keras.data.tensorflow_pipeline` for TensorFlow and for all that is read from files,
    `ddnn_keras.data.array_pipeline` for arrays on Keras' other backends.

    Attributes:
        name: The data set's name.
        image_shape: `(height, width, channels)`.
        num_classes: How many classes there are.
        class_names: A list of their names, in the order of the labels.
        num_train: How many training images there are.
        num_validation: How many validation images; none is a training image.
        num_test: How many test images.
        mirror: Whether training mirrors half of the images.
        crop_pct: The share of the shorter side that evaluation shows, the centre: about 0.875 where images have any
            size, else 1.
        stratified: Whether images were held out by class, see `ddnn_keras.data.splits.hold_out_by_class`.
        checksum: A number of the names of a folder's files, or of an `.npz` file's labels; else 0.
    """

    def __init__(self, name, source, image_size=None, mirror=None):
        *own_size, channels = source.shape
        self._own_size = None if None in own_size else tuple(own_size)
        is_small = self._own_size and max(self._own_size) <= LARGEST_OWN_SIZE
        size = (image_size, image_size) if image_size else source.default_size
        size = size or (self._own_size if is_small else DEFAULT_SIZE)
        self.name = name
        self.image_shape = (*size, channels)
        self.class_names = list(source.class_names)
        self.num_classes = len(self.class_names)
        self.num_train, self.num_validation, self.num_test = map(len, (source.train, source.validation, source.test))
        self.crop_pct = 1.0 if self._own_size else max(size) / size_before_crop(max(size))
        self.mirror = source.mirror if mirror is None else mirror
        self.stratified, self.checksum = source.stratified, source.checksum
        self._source = source

    def steps_per_epoch(self, batch_size):
        """How many batches `train` gives in an epoch; the images that would not fill a last batch are left out."""
        check_count("batch_size", batch_size, self.num_train, f"training images of {self.name!r}")
        return self.num_train // batch_size

    @abc.abstractmethod
    def train(self, batch_size, seed=0, first_epoch=0):
        """Shuffled and varied training images, without end.

        A batch depends on `seed`, on its epoch and on its place in it, and on nothing else. So a pipeline that starts
        at epoch k gives, bit for bit, what one that started at 0 gives from there on.

        Args:
            batch_size: Images in a batch.
            seed: Of order and variation, an integer. Defaults to `0`.
            first_epoch: The epoch to start with. Defaults to `0`.

        Returns:
            An iterable with `steps_per_epoch(batch_size)` batches an epoch, each of `batch_size` images: on TensorFlow
            a `tf.data.Dataset`.

        Example:
        >>> from ddnn_keras import data
        >>> digits = data.load("digits")
        >>> images, labels = next(iter(digits.train(batch_size=32, seed=1, first_epoch=5)))
        >>> tuple(images.shape), tuple(labels.shape)
        ((32, 16, 16, 1), (32,))
        """

    def validation(self, batch_size):
        """All validation images once, as they are and in a fixed order; the last batch may be smaller."""
        return self._in_order(self._source.validation, batch_size)

    def test(self, batch_size):
        """All test images once, as they are and in a fixed order; the last batch may be smaller."""
        return self._in_order(self._source.test, batch_size)

    def calibration_images(self, count):
        """Training images as evaluation would show them, for instance to find ranges for int8.

        Args:
            count: How many, at most `num_train`. They are drawn at random, and always the same ones.

        Returns:
            A float32 array of shape `(count, height, width, channels)`, from 0 to 255.

        Example:
        >>> from ddnn_keras import data
        >>> data.load("digits").calibration_images(5).shape
        (5, 16, 16, 1)
        """
        return self._sample(self._source.train, "training", count)[0]

    def test_sample(self, count):
        """Test images and their labels, as `test` gives them, for instance to check an exported file.

        Args:
            count: How many, at most `num_test`. They are drawn at random, and always the same ones: some data sets are
                sorted by class.

        Returns:
            A float32 array of shape `(count, height, width, channels)`, from 0 to 255, and an int32 array of labels.

        Example:
        >>> from ddnn_keras import data
        >>> images, labels = data.load("digits").test_sample(7)
        >>> images.shape, labels.shape
        ((7, 16, 16, 1), (7,))
        """
        return self._sample(self._source.test, "test", count)

    def validation_sample(self, count):
        """Validation images and their labels, at most `num_validation`, see `test_sample`."""
        return self._sample(self._source.validation, "validation", count)

    def _sample(self, split, kind, count):
        check_count("count", count, len(split), f"{kind} images of {self.name!r}")
        images, labels = self._shuffled(split, count)
        return np.asarray(images), np.asarray(labels)

    def resized(self, size):
        """The same images for a model that sees squares of `size` pixels, without reading them again."""
        return type(self)(self.name, self._source, image_size=size, mirror=self.mirror)

    def class_counts(self):
        """How many training images each class has, an array; `None` where that would take reading all images."""
        labels = getattr(self._source.train, "labels", None)
        return None if labels is None else np.bincount(labels, minlength=self.num_classes)

    @abc.abstractmethod
    def _in_order(self, split, batch_size):
        """Batches of all images of a split, as evaluation shows them."""

    @abc.abstractmethod
    def _shuffled(self, split, count):
        """The first `count` images, as evaluation shows them, and labels of a split in a fixed random order."""


def check_count(argument, count, most, things):
    """Raises a `ValueError` unless `count` is a number of these things."""
    if not (is_positive_integer(count) and count <= most):
        raise ValueError(f"`{argument}` must be from 1 to {most}, the number of {things}. Received: {count!r}")
