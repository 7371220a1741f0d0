"""Arrays on Keras' own backend: the same promises as tf.data's pipelines, without TensorFlow."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from sklearn.datasets import load_digits

from ddnn_keras.data.array_pipeline import BackendPipelines, varied
from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source


def pipelines(images, mirror=False, image_size=None):
    split = InMemory(images, np.arange(len(images)))
    source = Source(split, split, split, [*"ab"], images.shape[1:])
    return BackendPipelines("numbered", source, image_size=image_size, mirror=mirror)


def numbered(count, size=8):
    """One-colour images whose label is their number."""
    return np.broadcast_to(np.arange(count)[:, None, None, None], (count, size, size, 1)).astype(np.uint8)


def arrays(batches, count):
    images, labels = zip(*itertools.islice(batches, count))
    return [np.asarray(batch) for batch in images], [np.asarray(batch) for batch in labels]


def test_every_epoch_takes_each_image_once_at_most_and_all_are_taken_in_time():
    images = pipelines(numbered(50))
    steps = images.steps_per_epoch(16)
    batches, labels = arrays(images.train(16), 20 * steps)
    assert batches[0].shape == (16, 8, 8, 1) and batches[0].dtype == np.float32 and labels[0].dtype == np.int32
    epochs = np.array(labels).reshape(20, 48)
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(50))
    for image, label in zip(np.concatenate(batches), np.concatenate(labels)):
        assert set(np.unique(image)) <= {0, label}
        assert image[4, 4] == label


def test_training_taken_up_again_sees_the_same():
    images = pipelines(numbered(50), mirror=True)
    whole = arrays(images.train(16, seed=3), 12)
    resumed = arrays(images.train(16, seed=3, first_epoch=2), 6)
    for one, other in zip(whole, resumed):
        np.testing.assert_array_equal(one[6:], other)
    other_seed = arrays(images.train(16, seed=4), 12)
    assert not np.array_equal(whole[1], other_seed[1])


def test_variation_is_a_shift_and_a_mirroring():
    """Each result is one of all possible ones, and each of those comes up."""
    image = np.arange(1, 8 * 16 * 2 + 1, dtype=np.float32).reshape(8, 16, 2)
    padded = np.pad(image, ((1, 1), (2, 2), (0, 0)))
    shifts = [padded[row : row + 8, column : column + 16] for row in range(3) for column in range(5)]
    possible = {shift.tobytes() for shift in shifts} | {shift[:, ::-1].tobytes() for shift in shifts}
    batch = np.repeat(image[np.newaxis], 2000, axis=0)
    found = [result.tobytes() for result in np.asarray(varied(batch, True, np.random.default_rng(0)))]
    assert set(found) == possible
    unmirrored = {result.tobytes() for result in np.asarray(varied(batch, False, np.random.default_rng(0)))}
    assert unmirrored == {shift.tobytes() for shift in shifts}


def test_evaluation_is_complete_and_in_order():
    images = pipelines(numbered(50))
    for _ in range(2):
        batches, labels = arrays((images.test(20)[index] for index in range(3)), 3)
        assert len(images.test(20)) == 3
        assert [len(batch) for batch in batches] == [20, 20, 10]
        np.testing.assert_array_equal(np.concatenate(labels), range(50))
        np.testing.assert_array_equal(np.concatenate(batches), numbered(50).astype("float32"))


def test_samples():
    images = pipelines(numbered(50))
    calibration = images.calibration_images(20)
    assert calibration.shape == (20, 8, 8, 1) and calibration.dtype == np.float32
    # At random: a folder's first images are of one class.
    assert len(set(calibration[:, 0, 0, 0])) == 20 and max(calibration[:, 0, 0, 0]) > 25
    sample, labels = images.test_sample(7)
    np.testing.assert_array_equal(sample[:, 0, 0, 0], labels)
    assert len(set(labels)) == 7 and max(labels) > 12


@pytest.mark.parametrize("width", [8, 13])
def test_enlarged_as_by_tensorflow_and_not_stretched(width):
    tf = pytest.importorskip("tensorflow")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, width, 1)).astype(np.uint8)
    enlarged, _ = arrays([pipelines(pixels, image_size=16).test(5)[0]], 1)
    start = (width - 8) // 2
    middle = pixels[:, :, start : start + 8].astype("float32")
    np.testing.assert_allclose(enlarged[0], tf.image.resize(middle, (16, 16)), atol=1e-3)


# Runs a script where TensorFlow is not installed.
WITHOUT_TENSORFLOW = """
import runpy, sys

class NotInstalled:

    def find_spec(self, name, *_):
        if name.partition(".")[0].startswith("tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def without_tensorflow(*flags):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(ROOT / "recipes" / "train.py"), *map(str, flags)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_recipe_trains_and_resumes_on_jax_without_tensorflow(tmp_path):
    pytest.importorskip("jax")
    digits = load_digits()
    images, labels = (digits.images[:300] * 15).astype(np.uint8), digits.target[:300]
    np.savez(tmp_path / "digits.npz", x_train=images[:200], y_train=labels[:200], x_test=images, y_test=labels)
    flags = ["--dataset", f"npz:{tmp_path / 'digits.npz'}", "--backbone", "resnet_cifar", "--depths", 8, 14]
    flags += ["--width", 2, "--batch-size", 60, "--epochs", 1, "--output", tmp_path / "run"]
    finished = without_tensorflow(*flags)
    assert finished.returncode == 0, finished.stderr
    assert without_tensorflow("--resume", tmp_path / "run").returncode == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["backend"] == "jax" and "jax" in config["versions"]
    assert (tmp_path / "run" / "history.csv").read_text().count("\n") == 2
    assert set(json.loads((tmp_path / "run" / "metrics.json").read_text())) == {"depth_8", "depth_14"}


def test_data_that_only_tensorflow_reads_say_so(tmp_path):
    finished = without_tensorflow("--dataset", "cifar10", "--output", tmp_path / "run")
    assert finished.returncode == 2
    assert "needs tensorflow" in finished.stderr.splitlines()[-1]
