"""Builds the graph of a `DDNN`, from raw pixels to every depth's logits and stage features."""

import random

import keras
import numpy as np

from ddnn_keras.depths import is_positive_integer, output_key
from ddnn_keras.network.paths import Path, grow


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
    *_, full_net = depths  # the deepest
    # `keras.utils.set_random_seed` seeds this generator.
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


def check_arguments(input_shape, num_classes, **pixels):
    """Raises a `ValueError` unless a network can have these arguments, of which `pixels` are its mean and deviation."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`keras.config.image_data_format()` must be 'channels_last'. "
            f"Received: {keras.config.image_data_format()!r}"
        )
    wellformed = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    if not wellformed or not all(is_positive_integer(size) for size in input_shape):
        raise ValueError(
            "`input_shape` must be three positive integers, (height, width, channels). "
            f"Received: input_shape={input_shape!r}"
        )
    # The softmax of a single logit is always 1, which trains nothing.
    if not is_positive_integer(num_classes) or num_classes < 2:
        raise ValueError(f"`num_classes` must be an integer of 2 or more. Received: num_classes={num_classes!r}")
    channels = input_shape[-1]
    for name, value in pixels.items():
        numbers = np.asarray(value)
        wellformed = numbers.dtype.kind in "iuf" and numbers.shape in ((), (channels,)) and np.isfinite(numbers).all()
        if not wellformed or (name == "pixel_std" and not numbers.all()):
            kind = "a number other than 0" if name == "pixel_std" else "a number"
            raise ValueError(f"`{name}` must be {kind}, or {channels} of them. Received: {name}={value!r}")
