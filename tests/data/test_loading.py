import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ddnn_keras import data


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def all_of(dataset):
    return map(np.concatenate, zip(*dataset.as_numpy_iterator()))


def test_digits_are_tested_on_the_last_ones_of_the_file(digits):
    images, labels = all_of(data.load("digits", image_size=8).test(100))
    np.testing.assert_array_equal(labels, load_digits().target[-360:])
    np.testing.assert_allclose(images[..., 0], load_digits().images[-360:] * 255 / 16)
    enlarged, _ = all_of(digits.test(360))
    assert enlarged.shape == (360, 16, 16, 1)
    # Twice as large, bilinearly: pixels lie a quarter of a pixel off the original ones, on both axes.
    between = images[:, :2, :2, 0].reshape(360, 4) @ np.outer([0.75, 0.25], [0.75, 0.25]).ravel()
    np.testing.assert_allclose(enlarged[:, 1, 1, 0], between, atol=0.01)


def test_splits_are_disjoint_and_complete():
    digits = data.load("digits", image_size=8)
    found = np.concatenate([digits.calibration_images(1293), next(all_of(digits.validation(64)))])[..., 0]
    expected = (load_digits().images[:-360] * 255 / 16).astype(np.float32)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))


def test_the_seed_of_load_chooses_the_validation_images(digits):
    of_seed = {seed: next(all_of(data.load("digits", seed=seed).validation(64))) for seed in (0, 1)}
    np.testing.assert_array_equal(of_seed[0], next(all_of(digits.validation(64))))
    assert not np.array_equal(of_seed[0], of_seed[1])
    assert data.load("digits", validation_fraction=0.25).num_validation == round(0.25 * 1437)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda digits: digits.train(1294), r"`batch_size` must be from 1 to 1293, .* Received: 1294"),
        (lambda digits: digits.calibration_images(1294), r"`count` must be from 1 to 1293, .* Received: 1294"),
        (lambda _: data.load("digits", validation_fraction=1), r"`validation_fraction` must be .* Received: 1"),
        (lambda _: data.load("digits", validation_fraction=0.9999), r"Holding out the fraction 0.9999 leaves none .*"),
        (lambda _: data.load("folder:/nowhere"), "There is no folder /nowhere. If it has moved, give its new place."),
        (lambda _: data.load("npz:/nowhere.npz"), r"There is no file /nowhere\.npz"),
        (lambda _: data.load("digits", image_size=8.5), r"`image_size` must be .* or None. Received: 8.5"),
        (lambda _: data.load("digits", train_images=1294), r"`train_images` must be from 1 to 1293, .* Received: 1294"),
    ],
)
def test_errors(call, sentence, digits):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^{sentence}\.?$"):
        call(digits)


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("cifar10", "tensorflow_datasets", "recipes"),
        ("digits", "sklearn", "recipes"),
        ("folder:photos", "tensorflow", "tensorflow"),
    ],
)
def test_a_missing_package_is_named(name, package, extra, monkeypatch):
    missing = ("tensorflow_datasets", "sklearn", "tensorflow")
    for module in [*missing, *sys.modules]:
        if module.partition(".")[0] in missing:
            monkeypatch.setitem(sys.modules, module, None)
    for source in ("folder", "streamed", "tfds"):
        monkeypatch.delitem(sys.modules, f"ddnn_keras.data.sources.{source}", raising=False)
    sentence = rf'^`name` \'{name}\' needs {package}, which is not installed: pip install "ddnn_keras\[{extra}\]"$'
    with pytest.raises(ValueError, match=sentence):
        data.load(name)
