"""A model trained in mixed precision, in the float32 that devices compute in."""

import keras
import numpy as np

from ddnn_keras.images import in_batches


def in_float32(subnet):
    """Copies a model with every layer computing in float32.

    Under a mixed policy the variables are float32 already, and only the casts between layers go.

    Args:
        subnet: A functional `keras.Model` of any dtype policy. It is not changed.

    Returns:
        A functional `keras.Model` with variables of its own.

    Example:
    >>> import keras
    >>> image = keras.Input((4, 4, 1))
    >>> model = keras.Model(image, keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")(image))
    >>> in_float32(model).layers[-1].compute_dtype
    'float32'
    """
    copy = keras.models.clone_model(subnet, clone_function=_float32_operation, recursive=True)
    copy.set_weights(subnet.get_weights())
    return copy


def _float32_operation(operation):
    config = operation.get_config()
    # What is no layer (`x + y` on symbolic tensors) has no policy: it follows its inputs.
    dtype = {"dtype": "float32"} if isinstance(operation, keras.Layer) else {}
    return type(operation).from_config({**config, **dtype})


def float32_logits(subnet, images):
    """What a file is verified against: the model's outputs in float32.

    A mixed policy's own outputs would not do: bfloat16 alone moves the logits of a tiny network by 1 part in 200, which
    would hide real errors. Nor would a GPU's, whose convolutions round float32 to TensorFloat-32 (10 bits of mantissa)
    by default; hence the CPU.

    Args:
        subnet: A functional `keras.Model` of any dtype policy.
        images: A float32 array of shape `(n, height, width, channels)`.

    Returns:
        A float32 array of shape `(n, classes)`.
    """
    with keras.device("cpu:0"):
        model = in_float32(subnet)
        logits = [keras.ops.convert_to_numpy(model(batch, training=False)) for batch in in_batches(images)]
        return np.concatenate(logits)
