"""The networks that the tests of files run: small, real, and good enough for accuracy to mean something."""

import functools

import keras
import numpy as np
from sklearn.datasets import load_digits

from ddnn_keras import DDNN
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.export import export_subnets
from ddnn_keras.tflite.modes import mode_named

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


def untrained_ddnn(depths=(8, 14), **arguments):
    """Two depths in one network."""
    keras.utils.set_random_seed(0)
    return DDNN(depths, "resnet_cifar", **{"input_shape": (16, 16, 1), "width": 16, **arguments})


def tiny_net(seed=0):
    """A convolution and a dense layer, soon converted."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    return keras.Model(image, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))


@functools.cache
def trained_ddnn():
    """An `untrained_ddnn` that has learned digits."""
    model, epochs, batch_size = untrained_ddnn(), 4, 64
    rate = keras.optimizers.schedules.CosineDecay(0.01, epochs * NUM_TRAINING // batch_size)
    model.compile(keras.optimizers.Adam(rate), jit_compile=False)
    model.fit(*training(), epochs=epochs, batch_size=batch_size, verbose=0)
    return model


def subnets(model):
    """A network's depths by the signatures that they have in a bundle."""
    return {f"depth_{depth}": model.subnet(depth) for depth in model.depths}


def export_bundle(path, crop_pct=1.0, **arguments):
    """Writes an int8 bundle of the `trained_ddnn`."""
    (images, labels), model = held_out(), trained_ddnn()
    depths = {f"depth_{depth}": {"depth": depth, "blocks_per_stage": blocks} for depth, blocks in model.depths.items()}
    facts = {"depths": depths, "labels": [f"digit {digit}" for digit in range(10)], "crop_pct": crop_pct}
    held = {"calibration_images": training()[0][:100], "images": images, "labels": labels, "facts": facts}
    export_subnets(subnets(model), path, quantize="int8", **held, **arguments)


@functools.cache
def trained_net(depth=8):
    """A depth of the `trained_ddnn`."""
    return trained_ddnn().subnet(depth)


def mixed_net():
    """The `trained_net` with a mixed dtype policy."""
    model = untrained_ddnn(dtype="mixed_bfloat16")
    model.set_weights(trained_ddnn().get_weights())
    return model.subnet(8)


@functools.cache
def converted(quantize, depth=8, io_dtype=None):
    """The `trained_net` as a file's bytes."""
    return convert(trained_net(depth), mode_named(quantize, io_dtype), training()[0][:100])
