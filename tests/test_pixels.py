"""Images that were scaled to 0..1 are told of wherever nothing else would show it."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_networks import held_out, untrained_ddnn

from ddnn_keras.runtime import Runtime


def as_array(images, labels):
    return images, labels


def as_dataset(images, labels):
    return (tf.data.Dataset.from_tensor_slices((images, labels)).batch(4),)


class Batches(keras.utils.PyDataset):
    def __init__(self, images, labels):
        super().__init__()
        self._batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches[index]


def as_py_dataset(images, labels):
    return (Batches(images, labels),)


@pytest.mark.parametrize("given", [as_array, as_dataset, as_py_dataset])
def test_fit_warns_of_scaled_images(given):
    model, (images, labels) = untrained_ddnn(width=4), held_out(8)
    model.compile("sgd", run_eagerly=True)
    with pytest.warns(UserWarning, match=r"^`x` must be raw pixels from 0 to 255, and seems to be scaled to 0\.\.1"):
        model.fit(*given(images / 255, labels), verbose=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="`x` must be")
        model.fit(*given(images, labels), verbose=0)
        model.fit(*given(np.zeros_like(images), labels), verbose=0)


def test_a_runtime_warns_of_a_scaled_image(bundle):
    runtime, (image, *_) = Runtime(bundle), held_out(2)[0]
    with pytest.warns(UserWarning, match=r"^`image` must be raw pixels"):
        runtime.predict(image / 255)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runtime.predict(image)
        runtime.predict(np.zeros_like(image))
