"""Builds the graph of a `DDNN`, from raw pixels to every depth's logits and stage features."""

import random

import keras
import numpy as np

from ddnn_keras.depths import is_positive_integer, output_key
from ddnn_keras.network.paths import Path, deepest, grow


def normalize_pixels(image, mean, std, policy):
    """Normalises raw pixels within the network, so that devices need no preprocessing."""
    mean, std = (np.asarray(value, "float64") for value in (mean, std))
    scale, offset = 1 / std, -mean / std
    return keras.layers.Rescaling(scale.tolist(), offset.tolist(), dtype=policy, name="normalize_pixels")(image)


def with_static_shape(images, shape):
    """Images with the shape of an input. TensorFlow does not know it where a pipeline leaves sizes open."""
    if None not in images.shape[1:]:
        return images
    import tensorflow as tf

    return tf.ensure_shape(images, shape)


def grow_outputs(backbone, x, depths, num_classes, policy):
    """Logits and stage features of every depth: two dicts from output keys."""
    depths = {output_key(depth): blocks for depth, blocks in depths.items()}
    # `keras.utils.set_random_seed` seeds this generator.
    full_net = deepest(depths)
    trunk = Path(full_net, depths[full_net], {}, policy, seed=random.getrandbits(32))
    logits, features = {}, {}
    for key, (path, stages) in grow(backbone, trunk, backbone.stem(trunk, x), depths).items():
        # In full precision also under a mixed policy, because half precision costs accuracy in the softmax.
        classifier = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.GlorotUniform(path.seed(key)),
            dtype=policy.variable_dtype,
            name=key,
        )
        logits[key], features[key] = classifier(backbone.head(path, stages[-1])), stages
    return logits, features


def network_with_features(model, features):
    """A network of the same layers with two outputs, `"logits"` and stage `"features"`."""
    network = keras.Model(model.input, {"logits": model.output, "features": features})
    network.input_spec, network.dtype_policy = model.input_spec, model.dtype_policy
    return network


def check_channels_last():
    """Raises a `ValueError` if Keras' global setting puts channels first."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`keras.config.image_data_format()` must be 'channels_last'. "
            f"Received: {keras.config.image_data_format()!r}"
        )


def check_images(input_shape, num_classes):
    """Raises a `ValueError` unless these are the shape of an image and a number of classes."""
    wellformed = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    if not wellformed or not all(is_positive_integer(size) for size in input_shape):
        raise ValueError(
            "`input_shape` must be three positive integers, (height, width, channels). "
            f"Received: input_shape={input_shape!r}"
        )
    # The softmax of a single logit is always 1, which trains nothing.
    if not is_positive_integer(num_classes) or num_classes < 2:
        raise ValueError(f"`num_classes` must be an integer of 2 or more. Received: num_classes={num_classes!r}")


def check_pixels(argument, value, channels, allow_zero):
    """Raises a `ValueError` unless `value` is a number or one for each channel."""
    numbers = np.asarray(value)
    wellformed = numbers.dtype.kind in "iuf" and numbers.shape in ((), (channels,)) and np.isfinite(numbers).all()
    if not wellformed or not (allow_zero or numbers.all()):
        kind = "a number" if allow_zero else "a number other than 0"
        raise ValueError(f"`{argument}` must be {kind}, or {channels} of them. Received: {argument}={value!r}")
