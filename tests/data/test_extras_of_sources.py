"""Whoever brings images of their own needs neither TensorFlow Datasets nor scikit-learn."""

import subprocess
import sys

import numpy as np
import pytest

# Loads a data set where some packages are not installed, and prints its shape or what is wrong.
LOADING = """
import sys

name, *missing = sys.argv[1:]

class NotInstalled:

    def find_spec(self, name, *_):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
from ddnn_keras import data

try:
    print(data.load(name).image_shape)
except ValueError as error:
    print(error)
"""


def load_without(missing, name, folder):
    command = [sys.executable, "-c", LOADING, name, *missing]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_an_array_file_needs_no_extra(tmp_path):
    images, labels = np.full((20, 8, 8), 255, np.uint8), np.arange(20) % 2
    np.savez(tmp_path / "arrays.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert load_without(["tensorflow_datasets", "sklearn"], "npz:arrays.npz", tmp_path) == "(8, 8, 1)\n"


@pytest.mark.parametrize(
    ("name", "missing", "other"),
    [("cifar10", "tensorflow_datasets", "sklearn"), ("digits", "sklearn", "tensorflow_datasets")],
)
def test_what_is_missing_is_named(name, missing, other, tmp_path):
    sentence = f"`name` '{name}' needs {missing}, which is not installed: pip install \"ddnn_keras[recipes]\"\n"
    assert load_without([missing, other], name, tmp_path) == sentence


def test_digits_need_no_tensorflow_datasets(tmp_path):
    assert load_without(["tensorflow_datasets"], "digits", tmp_path) == "(16, 16, 1)\n"
