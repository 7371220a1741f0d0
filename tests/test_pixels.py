"""Images that were scaled or normalised are told of wherever nothing else would show it."""

import warnings

import numpy as np
import pytest
import tensorflow as tf
from small_networks import held_out, untrained_ddnn

from ddnn_keras.data.array_pipeline import InOrder
from ddnn_keras.runtime import Runtime

GIVEN = {
    "arrays": lambda images, labels: (images, labels),
    "dataset": lambda *arrays: (tf.data.Dataset.from_tensor_slices(arrays).batch(4),),
    "py_dataset": lambda images, labels: (InOrder(images, labels, 4),),
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_fit_warns_of_pixels_that_are_not_raw(given):
    model, (images, labels) = untrained_ddnn(width=4), held_out(8)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="`x` must be")
        for fine in (images, np.zeros_like(images)):
            model.compile("sgd", run_eagerly=True)
            model.fit(*given(fine, labels), verbose=0)
    for changed in (images / 255, (images - 123.68) / 58.4, images - 123.68):
        model.compile("sgd", run_eagerly=True)
        with pytest.warns(
            UserWarning, match=r"^`x` must be raw pixels from 0 to 255, and seems to be scaled or normal"
        ):
            model.fit(*given(changed, labels), verbose=0)


def test_fit_looks_at_a_pipeline_once():
    read = []

    def image(index):
        read.append(index)
        return images[index]

    model, (images, labels) = untrained_ddnn(width=4), held_out(4)
    indices = tf.data.Dataset.range(4)
    shuffled = indices.map(lambda index: tf.numpy_function(image, [index], images.dtype)).shuffle(4).batch(4)
    model.compile("sgd", run_eagerly=True)
    for _ in range(2):
        model.fit(tf.data.Dataset.zip(shuffled, tf.data.Dataset.from_tensors(labels)), verbose=0)
    assert len(read) == 3 * 4


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_runtime_warns_of_a_scaled_image(bundle):
    runtime, (image, *_) = Runtime(bundle), held_out(2)[0]
    with pytest.warns(UserWarning, match=r"^`image` must be raw pixels"):
        runtime.predict(image / 255)
    with pytest.warns(UserWarning, match=r"^`images` must be raw pixels"):
        runtime.logits(image[np.newaxis] / 255, runtime.depths[0])
    runtime.predict(image)
    runtime.predict(np.zeros_like(image))


def test_fit_does_not_look_at_distributed_data():
    strategy, (images, labels) = tf.distribute.MirroredStrategy(["CPU:0"]), held_out(8)
    batches = tf.data.Dataset.from_tensor_slices((images, labels)).batch(4)
    with strategy.scope():
        model = untrained_ddnn(width=4)
        model.compile("sgd", jit_compile=False)
    assert model.fit(strategy.experimental_distribute_dataset(batches), verbose=0).history["loss"][0] > 0


def test_fit_leaves_it_to_keras_to_miss_images():
    model, (images, labels) = untrained_ddnn(width=4), held_out(8)
    model.compile("sgd", run_eagerly=True)
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(tf.data.Dataset.from_tensor_slices((images, labels)).batch(16, drop_remainder=True), verbose=0)
    with pytest.raises(ValueError, match="have different structures"):
        model.fit(tf.data.Dataset.from_tensors({"image": images, "label": labels}), verbose=0)
