"""The networks that the other TFLite tests export: small, real, and good enough for accuracy to mean something."""

import functools
import math

import keras
import numpy as np
from sklearn.datasets import load_digits

from ddnn_keras import DDNN
from ddnn_keras.tflite.bundle import convert_bundle
from ddnn_keras.tflite.convert import convert

NUM_TRAINING = 1400


@functools.cache
def digits():
    """Real handwritten digits as raw pixels of shape (1797, 16, 16, 1), and their labels."""
    data = load_digits()
    images = np.rint(np.kron(data.images, np.ones((2, 2)))[..., np.newaxis] * (255 / 16))
    order = np.random.default_rng(0).permutation(len(images))
    return images[order].astype("float32"), data.target[order]


def training():
    """Images and labels to train and to calibrate with."""
    images, labels = digits()
    return images[:NUM_TRAINING], labels[:NUM_TRAINING]


def held_out(number=200):
    """Images and labels that no network has seen."""
    images, labels = digits()
    return images[-number:], labels[-number:]


def residual_net(width=8, dtype="float32", seed=0):
    """A stem and two residual blocks, the second with a stride, a projection and the padding of published weights."""
    keras.utils.set_random_seed(seed)
    policy = {"dtype": dtype}

    def convolve(x, filters, size, strides=1):
        if strides > 1 and size > 1:
            x = keras.layers.ZeroPadding2D(size // 2, **policy)(x)
        elif strides > 1:
            # Not in the convolution, see ddnn_keras/backbones/layers.py.
            x, strides = keras.layers.MaxPooling2D(1, strides, **policy)(x), 1
        padding = "valid" if strides > 1 else "same"
        x = keras.layers.Conv2D(filters, size, strides, padding, use_bias=False, **policy)(x)
        return keras.layers.BatchNormalization(momentum=0.8, **policy)(x)

    def block(x, filters, strides):
        shortcut = convolve(x, filters, 1, strides) if strides > 1 else x
        x = keras.layers.ReLU(**policy)(convolve(x, filters, 3, strides))
        x = keras.layers.Add(**policy)([convolve(x, filters, 3), shortcut])
        return keras.layers.ReLU(**policy)(x)

    image = keras.Input((16, 16, 1))
    x = keras.layers.Rescaling(1 / 127.5, -1.0, **policy)(image)
    x = keras.layers.ReLU(**policy)(convolve(x, width, 3))
    x = block(block(x, width, 1), 2 * width, 2)
    x = keras.layers.GlobalAveragePooling2D(**policy)(x)
    return keras.Model(image, keras.layers.Dense(10)(x))


@functools.cache
def trained_net():
    """A `residual_net` that has learned digits."""
    model, epochs, batch_size = residual_net(), 8, 64
    steps = epochs * math.ceil(NUM_TRAINING / batch_size)
    model.compile(
        # A rate that stays ends one time in six below 90 %.
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(*training(), epochs=epochs, batch_size=batch_size, verbose=0)
    return model


def test_the_trained_net_is_good_enough_to_test_with():
    images, labels = held_out()
    assert np.mean(trained_net().predict(images, verbose=0).argmax(-1) == labels) > 0.9


@functools.cache
def trained_ddnn():
    """Two depths in one network, which have learned digits."""
    keras.utils.set_random_seed(0)
    model = DDNN((8, 14), "resnet_cifar", input_shape=(16, 16, 1), width=16)
    model.compile(keras.optimizers.Adam(0.003), jit_compile=False)
    model.fit(*training(), epochs=6, batch_size=64, verbose=0)
    return model


@functools.cache
def bundled(quantize):
    """The depths of `trained_ddnn` as one file's bytes."""
    return convert_bundle(subnets(trained_ddnn()), quantize, training()[0][:100])


def subnets(model):
    """A network's depths by the signatures that they have in a bundle."""
    return {f"depth_{depth}": model.subnet(depth) for depth in model.depths}


def mixed_net():
    """The `trained_net` with a mixed dtype policy."""
    model = residual_net(dtype="mixed_bfloat16")
    model.set_weights(trained_net().get_weights())
    return model


@functools.cache
def converted(quantize):
    """The `trained_net` as a file's bytes."""
    return convert(trained_net(), quantize, training()[0][:100])
