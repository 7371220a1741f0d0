"""Rounded weights move the mean of no channel, in any kind of layer."""

import keras
import numpy as np
import pytest

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.tflite.bias_correction import with_corrected_biases
from ddnn_keras.tflite.convert import converted, converter, saved
from ddnn_keras.tflite.modes import MODES

LAYERS = {
    "convolution": lambda: keras.layers.Conv2D(6, 3, strides=2),
    "groups": lambda: keras.layers.Conv2D(6, 3, groups=2),
    "depthwise": lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
    "dense": lambda: keras.layers.Dense(6),
}


def shifts_before_and_after(network, images, mode):
    """The largest shift of a channel's mean, without and with corrected biases."""
    with saved(network, "logits") as folder:
        plain = converted(converter(folder, "logits", MODES[mode], images))
        exact = converted(converter(folder, "logits", MODES["none"]))
    corrected = with_corrected_biases(plain, exact, images)
    assert len(corrected) < len(plain) + 100 * sum(bool(layer.weights) for layer in network.layers)
    expected = LiteModel(exact)(images)
    return [np.abs(np.mean(LiteModel(found)(images) - expected, axis=0)).max() for found in (plain, corrected)]


# With int8, activations are rounded more coarsely than these weights.
@pytest.mark.parametrize(("kind", "mode"), [("convolution", "int8"), *((kind, "int16x8") for kind in LAYERS)])
def test_the_mean_of_every_channel(kind, mode):
    keras.utils.set_random_seed(0)
    image, layer = keras.Input((8, 8, 4)), LAYERS[kind]()
    features = layer(keras.layers.Flatten()(image) if kind == "dense" else image)
    network = keras.Model(image, features if kind == "dense" else keras.layers.GlobalAveragePooling2D()(features))
    kernel, bias = layer.get_weights()
    # A large weight makes large steps. A bias of 0 would not be in the file.
    layer.set_weights([np.where(kernel == kernel.max(), 20, kernel), bias + 1])
    images = np.random.default_rng(0).uniform(0, 255, (40, 8, 8, 4)).astype("float32")
    plain, corrected = shifts_before_and_after(network, images, mode)
    assert corrected < plain / 5


@pytest.mark.parametrize("mode", ["int8", "int16x8"])
def test_layers_without_a_bias_which_have_one_tensor_of_zeros_together(mode):
    keras.utils.set_random_seed(0)
    image = x = keras.Input((8, 8, 4))
    for _ in range(3):
        layer = keras.layers.Conv2D(4, 3, use_bias=False)
        x = keras.layers.ReLU()(layer(x))
        (kernel,) = layer.get_weights()
        layer.set_weights([np.where(kernel == kernel.max(), 5, np.abs(kernel))])
    network = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    images = np.random.default_rng(0).uniform(0, 255, (40, 8, 8, 4)).astype("float32")
    plain, corrected = shifts_before_and_after(network, images, mode)
    assert corrected < plain / 4
