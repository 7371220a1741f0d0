"""A data set as a model sees it."""

import tensorflow as tf

from ddnn_keras.data.augmentation import PARALLEL, PadAndCrop, RandomResizedCrop

DEFAULT_SIZE = (224, 224)


class ImageData:
    """Labelled images in three splits, and their pipelines. `ddnn_keras.data.load` makes it.

    Every pipeline gives float32 images of shape `(batch, height, width, channels)`, from 0 to 255, and int32 labels
    of shape `(batch,)`.

    Args:
        name: The data set's name.
        source: A `ddnn_keras.data.source.Source`.
        image_size: Height and width that the model sees. By default the data set's own, where all images have one
            size, else 224.
        mirror: Whether training mirrors half of the images. By default what the source says.

    Attributes:
        name: The data set's name.
        image_shape: `(height, width, channels)`.
        num_classes: How many classes there are.
        class_names: A list of their names, in the order of the labels.
        num_train: How many training images there are.
        num_validation: How many validation images, which are none of the training images.
        num_test: How many test images.
        mirror: Whether training mirrors half of the images.
    """

    def __init__(self, name, source, image_size=None, mirror=None):
        *own_size, channels = source.shape
        own_size = None if None in own_size else tuple(own_size)
        size = (image_size, image_size) if image_size else source.default_size or own_size or DEFAULT_SIZE
        self.name = name
        self.image_shape = (*size, channels)
        self.class_names = list(source.class_names)
        self.num_classes = len(self.class_names)
        self.num_train, self.num_validation, self.num_test = map(len, (source.train, source.validation, source.test))
        self.mirror = source.mirror if mirror is None else mirror
        self._source = source
        self._augmentation = (
            PadAndCrop(size, own_size, self.mirror) if own_size else RandomResizedCrop(size, self.mirror)
        )

    def steps_per_epoch(self, batch_size):
        """How many batches `train` gives in an epoch: the last images that would fill none are left out.

        Args:
            batch_size: Images in a batch.

        Returns:
            A positive integer.

        Raises:
            ValueError: If there are too few training images for one batch.
        """
        if not 1 <= batch_size <= self.num_train:
            raise ValueError(
                f"`batch_size` must be from 1 to {self.num_train}, the number of training images of {self.name!r}. "
                f"Received: {batch_size}"
            )
        return self.num_train // batch_size

    def train(self, batch_size, seed=0, first_epoch=0):
        """Shuffled and varied training images, without end.

        What is in a batch depends on `seed`, on the epoch and on the batch's place in it, and on nothing else. So a
        pipeline that starts at epoch k gives what one that started at 0 gives from then on, bit for bit.

        Args:
            batch_size: Images in a batch.
            seed: Of order and variation, an integer. Defaults to `0`.
            first_epoch: The epoch to start with. Defaults to `0`.

        Returns:
            A `tf.data.Dataset` with `steps_per_epoch(batch_size)` batches an epoch, each of `batch_size` images.

        Raises:
            ValueError: If there are too few training images for one batch.

        Example:
        >>> from ddnn_keras import data
        >>> digits = data.load("digits")
        >>> images, labels = next(iter(digits.train(batch_size=32, seed=1, first_epoch=5)))
        >>> images.shape, images.dtype
        (TensorShape([32, 16, 16, 1]), tf.float32)
        """
        epoch_size = self.steps_per_epoch(batch_size) * batch_size
        order_seed, variation_seed = tf.unstack(tf.random.split(tf.constant([seed, 0], tf.int64), 2))

        def shuffled(epoch):
            return self._source.train.shuffled(tf.random.fold_in(order_seed, epoch)).take(epoch_size)

        examples = self._decoded(tf.data.Dataset.range(first_epoch, tf.int64.max).flat_map(shuffled))
        batches = self._augmentation.train(examples, batch_size, variation_seed, start=first_epoch * epoch_size)
        return batches.prefetch(tf.data.AUTOTUNE)

    def validation(self, batch_size):
        """All validation images once, as they are and in a fixed order; the last batch may be smaller."""
        return self._evaluation(self._source.validation.ordered(), batch_size)

    def test(self, batch_size):
        """All test images once, as they are and in a fixed order; the last batch may be smaller."""
        return self._evaluation(self._source.test.ordered(), batch_size)

    def calibration_images(self, count):
        """Training images as evaluation would show them, for instance to find ranges for int8.

        Args:
            count: How many, at most `num_train`. They are drawn at random, and always the same ones.

        Returns:
            A float32 array of shape `(count, height, width, channels)`, from 0 to 255.

        Raises:
            ValueError: If there are not as many.

        Example:
        >>> from ddnn_keras import data
        >>> data.load("digits").calibration_images(5).shape
        (5, 16, 16, 1)
        """
        return self._sample(self._source.train, "training", count)[0]

    def test_sample(self, count):
        """Test images and their labels, as `test` gives them, for instance to check an exported file.

        Args:
            count: How many, at most `num_test`. They are drawn at random, since some data sets are sorted by class, and
                always the same ones.

        Returns:
            A float32 array of shape `(count, height, width, channels)`, from 0 to 255, and an int32 array of labels.

        Raises:
            ValueError: If there are not as many.

        Example:
        >>> from ddnn_keras import data
        >>> images, labels = data.load("digits").test_sample(7)
        >>> images.shape, labels.shape
        ((7, 16, 16, 1), (7,))
        """
        return self._sample(self._source.test, "test", count)

    def _sample(self, split, kind, count):
        if not 1 <= count <= len(split):
            raise ValueError(
                f"`count` must be from 1 to {len(split)}, the number of {kind} images of {self.name!r}. "
                f"Received: {count}"
            )
        examples = split.shuffled(tf.constant([0, 0], tf.int64)).take(count)
        images, labels = next(iter(self._evaluation(examples, batch_size=count)))
        return images.numpy(), labels.numpy()

    def _evaluation(self, examples, batch_size):
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive. Received: {batch_size}")
        return self._augmentation.evaluate(self._decoded(examples), batch_size).prefetch(tf.data.AUTOTUNE)

    def _decoded(self, examples):
        source = self._source
        if source.decode is None:
            return examples
        return examples.map(
            lambda image, label: (tf.ensure_shape(source.decode(image), source.shape), label), **PARALLEL
        )
