import itertools
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from test_folder import numbers

from ddnn_keras import data
from ddnn_keras.data.sources.streamed import Streamed
from ddnn_keras.data.sources.tfds import NOT_MIRRORED, UNLABELLED_TEST_SPLITS, choose_splits


class NumberedImages(tfds.core.GeneratorBasedBuilder):
    """Images of one colour, which is their number."""

    VERSION = tfds.core.Version("1.0.0")
    COUNTS = {"train": 200, "test": 50}
    SHAPE = (None, None, 3)

    def _info(self):
        image, label = tfds.features.Image(shape=self.SHAPE), tfds.features.ClassLabel(names=["even", "odd"])
        features = tfds.features.FeaturesDict({"image": image, "label": label, "note": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        starts = itertools.accumulate(self.COUNTS.values(), initial=0)
        pairs = zip(starts, self.COUNTS.items())
        return {split: self._generate_examples(start, count) for start, (split, count) in pairs}

    def _generate_examples(self, start, count):
        for number in range(start, start + count):
            height, width, channels = (size or 5 + number % 7 for size in self.SHAPE)
            image = np.full((height, width, channels), number, np.uint8)
            yield number, {"image": image, "label": number % 2, "note": "x"}


class NumberedImagesOfOneSize(NumberedImages):
    COUNTS = {"train": 40, "validation": 8}
    SHAPE = (12, 10, 1)


class NumberedImagesUnparted(NumberedImages):
    COUNTS = {"train": 50}


class NumberedImagesToTest(NumberedImages):
    COUNTS = {"test": 5}


class FailsToPrepare(NumberedImages):
    def _split_generators(self, dl_manager):
        raise RuntimeError("a reason\nin two lines")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Several files to a split, so that their order shows."""
    folder = tmp_path_factory.mktemp("tfds")
    config = tfds.download.DownloadConfig(num_shards=4)
    tfds.builder("numbered_images", data_dir=folder).download_and_prepare(download_config=config)
    return folder


@pytest.fixture(scope="module")
def streamed(data_dir):
    return data.load("numbered_images", data_dir=data_dir, image_size=8)


def test_images_of_any_size_are_streamed(streamed):
    assert isinstance(streamed._source.train, Streamed)
    assert streamed.image_shape == (8, 8, 3)
    assert streamed.class_names == ["even", "odd"]
    assert streamed.mirror is True
    assert (streamed.num_train, streamed.num_validation, streamed.num_test) == (180, 20, 50)
    parts = [numbers(streamed.train(180).take(1)), numbers(streamed.validation(7)), numbers(streamed.test(7))]
    assert sorted(parts[0] + parts[1]) == list(range(200))
    assert sorted(parts[2]) == list(range(200, 250))
    # In a fixed order.
    assert numbers(streamed.test(50)) == parts[2] and streamed.test(7).cardinality() == 8
    for images, labels in streamed.train(60).take(3).as_numpy_iterator():
        assert images.dtype == np.float32 and labels.dtype == np.int32
        np.testing.assert_array_equal(labels, np.round(images.mean((1, 2, 3))) % 2)


def test_streamed_training_taken_up_again_sees_the_same(streamed, data_dir):
    steps = streamed.steps_per_epoch(50)
    tf.random.set_seed(1)
    whole = [batch for batch, _ in streamed.train(50, seed=3).take(4 * steps).as_numpy_iterator()]
    again = data.load("numbered_images", data_dir=data_dir, image_size=8)
    for global_seed, first_epoch in [(2, 0), (0, 2), (7, 3)]:
        tf.random.set_seed(global_seed)
        resumed = again.train(50, seed=3, first_epoch=first_epoch).take((4 - first_epoch) * steps)
        np.testing.assert_array_equal(whole[first_epoch * steps :], [batch for batch, _ in resumed.as_numpy_iterator()])


def test_streamed_epochs_are_other_orders_of_the_same_images(streamed):
    epochs = np.reshape(numbers(streamed.train(50, seed=3).take(12)), (4, 150))
    assert all(len(set(epoch)) == 150 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert numbers(streamed.train(50, seed=4).take(1)) != list(epochs[0][:50])


def test_drawing_an_order_leaves_the_programs_seed_alone(streamed):
    drawn = []
    for draw in (lambda: None, lambda: streamed.calibration_images(3), lambda: next(iter(streamed.train(9)))):
        tf.random.set_seed(5)
        draw()
        drawn.append(float(tf.random.uniform(())))
    assert drawn[0] == drawn[1] == drawn[2]


def test_streamed_calibration_images(streamed):
    images = streamed.calibration_images(90)
    np.testing.assert_array_equal(images, streamed.calibration_images(90))
    found = {round(float(image.mean())) for image in images}
    assert len(found) == 90 and found.isdisjoint(numbers(streamed.validation(20)) + numbers(streamed.test(50)))


def test_some_of_the_streamed_training_images(streamed, data_dir):
    some = data.load("numbered_images", data_dir=data_dir, image_size=8, train_images=30)
    assert (some.num_train, some.num_validation, some.num_test) == (30, streamed.num_validation, streamed.num_test)
    taken = numbers(some.train(30).take(1))
    assert len(set(taken)) == 30
    assert set(taken).isdisjoint(numbers(streamed.validation(20)) + numbers(streamed.test(50)))


def test_images_of_one_size_are_kept_in_memory(data_dir):
    images = data.load("numbered_images_of_one_size", data_dir=data_dir, validation_fraction=0.25)
    assert not isinstance(images._source.train, Streamed)
    assert images.image_shape == (12, 10, 1)
    # Its validation split is for testing, as there is no other.
    assert (images.num_train, images.num_validation, images.num_test) == (30, 10, 8)
    assert sorted(numbers(images.test(3))) == list(range(40, 48))
    assert sorted(numbers(images.train(30).take(1)) + numbers(images.validation(10))) == list(range(40))


def test_a_set_with_one_split_is_parted(data_dir):
    images = data.load("numbered_images_unparted", data_dir=data_dir, image_size=8)
    assert (images.num_train, images.num_validation, images.num_test) == (36, 4, 10)
    parts = numbers(images.train(36).take(1)) + numbers(images.validation(9)) + numbers(images.test(9))
    assert sorted(parts) == list(range(50))


def write_metadata(folder, name, counts):
    """What TensorFlow Datasets knows of a prepared data set, without the data."""
    builder = tfds.builder(name, data_dir=folder, try_gcs=False)
    template = tfds.core.ShardedFileTemplate(builder.data_path, dataset_name=builder.name, filetype_suffix="tfrecord")
    splits = [
        tfds.core.SplitInfo(name=key, shard_lengths=[count], num_bytes=0, filename_template=template.replace(split=key))
        for key, count in counts.items()
    ]
    builder.info.set_splits(tfds.core.splits.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_path)


# The names of CIFAR's classes come with its archive.
@pytest.mark.parametrize(
    ("name", "test_split", "shape", "classes", "first", "mirror"),
    [
        ("cifar10", "test", (32, 32, 3), 10, "0", True),
        ("emnist/letters", "test", (28, 28, 1), 37, "0", False),
        ("imagenet2012", "validation", (224, 224, 3), 1000, "n01440764", True),
    ],
)
def test_known_sets(name, test_split, shape, classes, first, mirror, tmp_path):
    # Fake data has as many images in every split as are asked for, so all splits are of that size.
    write_metadata(tmp_path, name, {"train": 16, "test": 8, "validation": 8})
    builder = tfds.builder(name, data_dir=tmp_path, try_gcs=False)
    assert choose_splits(name, builder, 0.5) == ("train[:8]", "train[8:16]", test_split)
    with tfds.testing.mock_data(num_examples=8, data_dir=str(tmp_path)):
        images = data.load(name, validation_fraction=0.5)
        assert images.image_shape == shape
        assert images.num_classes == classes and images.class_names[0] == first
        assert images.mirror is mirror
        assert (images.num_train, images.num_validation, images.num_test) == (8, 8, 8)
        batch, labels = next(images.train(4).as_numpy_iterator())
        assert batch.shape == (4, *shape) and batch.min() >= 0 and batch.max() <= 255
        assert labels.min() >= 0 and labels.max() < classes
        tested, _ = next(images.test(8).as_numpy_iterator())
        assert tested.shape == (8, *shape) and 100 < tested.max() <= 255


def test_every_set_in_our_tables_exists():
    known = set(tfds.list_builders(with_community_datasets=False))
    assert known >= NOT_MIRRORED and known >= UNLABELLED_TEST_SPLITS


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cifar1O", r"`name` 'cifar1O' is not a known data set. Did you mean 'cifar10' or .*\?"),
        ("mnist:9.9.9", r"`name` 'mnist:9.9.9' is not available: .* version 9.9.9, only: 3.0.1"),
        ("imdb_reviews", r"`name` 'imdb_reviews' is not an image classification .* gives Text and ClassLabel\."),
        ("numbered_images_to_test", r"`name` 'numbered_images_to_test' has no split to train on. Its splits: test"),
        ("fails_to_prepare", r"`name` 'fails_to_prepare' is not in .* \(a reason in two lines\)\."),
        ("imagenet2012", r"`name` 'imagenet2012' is not in .*imagenet2012.* `manual_dir` \(.*img_train.tar.*\)\."),
    ],
)
def test_errors(name, sentence, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]+$") as raised:
        data.load(name, data_dir=tmp_path)
    assert re.fullmatch(sentence, str(raised.value)), raised.value


def test_without_network_it_is_one_sentence(tmp_path, monkeypatch):
    # Nothing listens on the discard port, wherever these tests run.
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    sentence = r"^`name` 'cifar10' is not in .*cifar10.* \(https://[^ ]* cannot be reached\)\.$"
    with pytest.raises(ValueError, match=sentence):
        data.load("cifar10", data_dir=tmp_path)
