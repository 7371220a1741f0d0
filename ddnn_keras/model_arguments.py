"""What the arguments of a `DDNN` must be."""

import keras
import numpy as np

from ddnn_keras.depths import is_positive_integer


def check_channels_last():
    """Raises a `ValueError` if Keras' global setting puts channels first, where no layer here looks for them."""
    if keras.config.image_data_format() != "channels_last":
        raise ValueError(
            "`keras.config.image_data_format()` must be 'channels_last'. "
            f"Received: {keras.config.image_data_format()!r}"
        )


def check_float32(policy):
    """Raises a `ValueError` unless the dtype policy is one that rounding to 8 bits goes with."""
    if policy.name != "float32":
        raise ValueError(f"`dtype` must be float32 with `quantization_aware`. Received: dtype={policy.name!r}")


def check_stages(backbone, stages):
    """Raises a `ValueError` unless the ends of all stages, symbolic tensors, have positions and channels."""
    for number, feature in enumerate(stages):
        if len(feature.shape) != 4:
            raise ValueError(
                f"`backbone` {backbone!r} must give (height, width, channels) at the end of every stage. "
                f"Received: shape {feature.shape[1:]} at the end of stage {number}"
            )


def check_images(input_shape, num_classes):
    """Raises a `ValueError` unless these are the shape of an image and a number of classes."""
    wellformed = isinstance(input_shape, tuple | list) and len(input_shape) == 3
    if not wellformed or not all(is_positive_integer(size) for size in input_shape):
        raise ValueError(
            "`input_shape` must be three positive integers, (height, width, channels). "
            f"Received: input_shape={input_shape!r}"
        )
    # The softmax of a single logit is 1 whatever the weights: it would train on nothing.
    if not is_positive_integer(num_classes) or num_classes < 2:
        raise ValueError(f"`num_classes` must be an integer of 2 or more. Received: num_classes={num_classes!r}")


def check_pixels(argument, value, channels, allow_zero):
    """Raises a `ValueError` unless `value` is a number, or one for each channel, and not 0 where that cannot be."""
    numbers = np.asarray(value)
    wellformed = numbers.dtype.kind in "iuf" and numbers.shape in ((), (channels,)) and np.isfinite(numbers).all()
    if not wellformed or not (allow_zero or numbers.all()):
        kind = "a number" if allow_zero else "a number other than 0"
        raise ValueError(f"`{argument}` must be {kind}, or {channels} of them. Received: {argument}={value!r}")
