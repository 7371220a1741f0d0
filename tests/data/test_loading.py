import doctest
import importlib
import itertools
import pathlib
import pkgutil

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from ddnn_keras import data
from ddnn_keras.data.augmentation import PadAndCrop
from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.tensorflow_pipeline import TFPipelines


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def arrays(dataset, count=None):
    """The images and the labels of a dataset's first batches."""
    batches = list(itertools.islice(dataset.as_numpy_iterator(), count))
    return [images for images, _ in batches], [labels for _, labels in batches]


def numbered_data(count, mirror=False, size=8):
    """One-colour images whose label is their number, all in the training split."""
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, size, size, 1)).astype(np.uint8)
    split = InMemory(images, numbers)
    return TFPipelines("numbered", Source(split, split, split, [*"ab"], (size, size, 1)), mirror=mirror)


def test_digits_describe_themselves(digits):
    assert digits.name == "digits"
    assert digits.image_shape == (16, 16, 1)
    assert digits.class_names == [*"0123456789"] and digits.num_classes == 10
    assert digits.num_test == 360
    assert digits.num_train + digits.num_validation == 1797 - 360
    assert digits.mirror is False


def test_digits_are_tested_on_the_last_ones_of_the_file(digits):
    images, labels = map(np.concatenate, arrays(data.load("digits", image_size=8).test(100)))
    np.testing.assert_array_equal(labels, load_digits().target[-360:])
    np.testing.assert_allclose(images[..., 0], load_digits().images[-360:] * 255 / 16)
    enlarged, _ = map(np.concatenate, arrays(digits.test(360)))
    assert enlarged.shape == (360, 16, 16, 1)
    # Twice as large, bilinearly: pixels lie a quarter of a pixel off the original ones, on both axes.
    between = images[:, :2, :2, 0].reshape(360, 4) @ np.outer([0.75, 0.25], [0.75, 0.25]).ravel()
    np.testing.assert_allclose(enlarged[:, 1, 1, 0], between, atol=0.01)


def test_splits_are_disjoint_and_complete(digits):
    train, _ = map(np.concatenate, arrays(digits._source.train.ordered().batch(64)))
    validation, _ = map(np.concatenate, arrays(digits._source.validation.ordered().batch(64)))
    found = np.concatenate([train, validation])[..., 0]
    expected = (load_digits().images[:-360] * 255 / 16).astype(np.float32)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


def test_the_seed_of_load_chooses_the_validation_images(digits):
    of_seed = {seed: np.concatenate(arrays(data.load("digits", seed=seed).validation(64))[0]) for seed in (0, 1)}
    np.testing.assert_array_equal(of_seed[0], np.concatenate(arrays(digits.validation(64))[0]))
    assert not np.array_equal(of_seed[0], of_seed[1])
    assert data.load("digits", validation_fraction=0.25).num_validation == round(0.25 * 1437)


def test_evaluation_is_complete_and_repeats_itself(digits):
    for pipeline, count in [(digits.validation, digits.num_validation), (digits.test, 360)]:
        images, labels = arrays(pipeline(100))
        assert [len(batch) for batch in images] == [100] * (count // 100) + [count % 100]
        assert images[0].dtype == np.float32 and labels[0].dtype == np.int32
        assert pipeline(100).cardinality() == len(images)
        again, _ = arrays(pipeline(100))
        np.testing.assert_array_equal(np.concatenate(images), np.concatenate(again))
        assert np.min(images[0]) == 0 and np.max(images[0]) == 255


def test_a_training_batch(digits):
    dataset = digits.train(64)
    images, labels = arrays(dataset, 1)
    assert dataset.element_spec == (tf.TensorSpec((64, 16, 16, 1), tf.float32), tf.TensorSpec((64,), tf.int32))
    assert images[0].min() == 0 and 200 < images[0].max() <= 255
    assert set(labels[0]) <= set(range(10))


def test_training_taken_up_again_sees_the_same(digits):
    steps = digits.steps_per_epoch(256)
    images, labels = arrays(digits.train(256, seed=3), 4 * steps)
    for global_seed, first_epoch in [(1, 0), (2, 1), (None, 3)]:
        if global_seed:
            tf.random.set_seed(global_seed)
        # Another object, as in another process.
        resumed = data.load("digits").train(256, seed=3, first_epoch=first_epoch)
        images_again, labels_again = arrays(resumed, (4 - first_epoch) * steps)
        np.testing.assert_array_equal(images[first_epoch * steps :], images_again)
        np.testing.assert_array_equal(labels[first_epoch * steps :], labels_again)


def test_epochs_and_seeds_differ(digits):
    first_labels = {
        (seed, epoch): tuple(arrays(digits.train(64, seed=seed, first_epoch=epoch), 1)[1][0])
        for seed in (0, 1, 2**40)
        for epoch in (0, 1)
    }
    assert len(set(first_labels.values())) == len(first_labels)


def test_every_epoch_takes_each_image_once_at_most_and_all_are_taken_in_time():
    images = numbered_data(50)
    steps = images.steps_per_epoch(16)
    assert steps == 3
    _, labels = arrays(images.train(16), 20 * steps)
    epochs = np.array(labels).reshape(20, 48)
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(50))


def test_images_keep_their_labels():
    batches, labels = arrays(numbered_data(50, mirror=True).train(16), 6)
    for image, label in zip(np.concatenate(batches), np.concatenate(labels)):
        assert set(np.unique(image)) <= {0, label}  # zeros are what a shift fills in
        assert image[4, 4] == label


def test_where_mirroring_is_off_no_image_is_mirrored():
    mirrored = {mirror: mirrored_fraction(mirror) for mirror in (False, True)}
    assert mirrored[False] == 0
    assert 0.4 < mirrored[True] < 0.6


def mirrored_fraction(mirror):
    """Of images whose left half is dark, the fraction whose right half is in training."""
    images = np.concatenate([np.full((400, 8, 4, 1), value, np.uint8) for value in (100, 200)], axis=2)
    split = InMemory(images, np.zeros(400))
    dataset = TFPipelines("halves", Source(split, split, split, [*"ab"], (8, 8, 1)), mirror=mirror).train(400)
    batch = arrays(dataset, 1)[0][0]
    return float(np.mean(batch[:, 4, 1, 0] == 200))


def test_mirror_can_be_asked_for(digits):
    assert data.load("digits", mirror=True).mirror is True
    images = arrays(digits.train(256, seed=1), 1)[0][0]
    mirrored = arrays(data.load("digits", mirror=True).train(256, seed=1), 1)[0][0]
    same = (images == mirrored).all((1, 2, 3))
    np.testing.assert_array_equal(mirrored[~same], images[~same, :, ::-1])
    assert 90 < same.sum() < 166


def test_calibration_images(digits):
    images = digits.calibration_images(200)
    assert images.shape == (200, 16, 16, 1) and images.dtype == np.float32
    np.testing.assert_array_equal(images[:50], digits.calibration_images(50))
    train, _ = map(
        np.concatenate, arrays(PadAndCrop((16, 16), (8, 8), False).evaluate(digits._source.train.ordered(), 64))
    )
    assert set(map(bytes, images)) <= set(map(bytes, train))
    assert len(set(map(bytes, images))) == 200


def test_samples_are_drawn_at_random():
    """A folder's images come class by class: the first ones would be of one class."""
    images = numbered_data(50)
    shown, labels = images.test_sample(10)
    np.testing.assert_array_equal(shown[:, 4, 4, 0], labels)
    assert len(set(labels)) == 10 and max(labels) > 15
    calibration = images.calibration_images(10)[:, 4, 4, 0]
    assert len(set(calibration)) == 10 and max(calibration) > 15
    with pytest.raises(ValueError, match=r"`count` must be from 1 to 50, .* Received: 51"):
        images.test_sample(51)


def test_steps_per_epoch(digits):
    assert digits.steps_per_epoch(64) == 1293 // 64
    assert digits.steps_per_epoch(1293) == 1


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda digits: digits.steps_per_epoch(1294), r"`batch_size` must be from 1 to 1293, .* Received: 1294"),
        (lambda digits: digits.train(0), r"`batch_size` must be from 1 to 1293, .* Received: 0"),
        (lambda digits: digits.test(0), r"`batch_size` must be a positive integer. Received: 0"),
        (lambda digits: digits.calibration_images(1294), r"`count` must be from 1 to 1293, .* Received: 1294"),
        (lambda _: data.load("digits", validation_fraction=0.0), r"`validation_fraction` must be .* Received: 0.0"),
        (lambda _: data.load("digits", validation_fraction=1), r"`validation_fraction` must be .* Received: 1"),
        (
            lambda _: data.load("digits", validation_fraction=0.9999),
            r"Holding out the fraction 0.9999 leaves none .*",
        ),
        (lambda _: data.load("digits", image_size=0), r"`image_size` must be a positive integer or None. Received: 0"),
        (lambda _: data.load("digits", image_size=8.5), r"`image_size` must be .* Received: 8.5"),
        (lambda digits: digits.train(32.5), r"`batch_size` must be from 1 to 1293, .* Received: 32.5"),
        (lambda digits: digits.validation(32.5), r"`batch_size` must be a positive integer. Received: 32.5"),
        (lambda digits: digits.calibration_images(3.5), r"`count` must be from 1 to 1293, .* Received: 3.5"),
        (lambda digits: digits.train(32, seed=-1), r"`seed` must be an integer of 0 or more. Received: seed=-1"),
        (lambda _: data.load("digits", seed=-1), r"`seed` must be an integer of 0 or more. Received: seed=-1"),
        (lambda _: data.load(pathlib.Path("digits")), r"`name` must be a string, .* Received: name=PosixPath.*"),
    ],
)
def test_errors(call, sentence, digits):
    with pytest.raises(ValueError, match=rf"^{sentence}\.?$"):
        call(digits)


def test_numbers_of_numpy(digits):
    size, number = np.int64(16), np.int32(5)
    assert data.load("digits", image_size=size, train_images=number, seed=number).num_train == 5
    assert digits.steps_per_epoch(number) == 1293 // 5
    assert digits.calibration_images(number).shape == (5, 16, 16, 1)


@pytest.mark.parametrize(
    "module", [module.name for module in pkgutil.walk_packages(data.__path__, data.__name__ + ".")] + [data.__name__]
)
def test_examples(module):
    failed, _ = doctest.testmod(importlib.import_module(module))
    assert failed == 0
