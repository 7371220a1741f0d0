"""Whether two networks with the same weights compute the same; if not, from which layer on."""

import keras
import numpy as np
from keras import ops

# Largest difference of two networks' features, in units of the largest feature: rounding errors of a hundred layers
# stay an order of magnitude below, and any other function is far above.
TOLERANCE = 1e-3
# bfloat16 rounds each layer's output by up to 1/256.
TOLERANCE_OF_MIXED_PRECISION = 0.1


def check_same_function(networks, features, ours, theirs, compute_dtype):
    """Compares the features that two networks compute of the same images.

    Args:
        networks: For each network its symbolic input and its images.
        features: The symbolic features of each; with positions, their mean is taken.
        ours: The one's layers, a list of `ddnn_keras.layer_order.Convolution`.
        theirs: The other's, as many.
        compute_dtype: In what the networks compute.

    Raises:
        ValueError: If they differ. The message names the first layer whose output does.
    """
    tolerance = TOLERANCE if compute_dtype == "float32" else TOLERANCE_OF_MIXED_PRECISION
    found, expected = (values[0] for values in outputs(networks, [features]))
    expected = expected.mean((1, 2)) if found.ndim < expected.ndim else expected
    different = difference(found, expected)
    if different > tolerance:
        raise ValueError(
            f"with the same weights, the features of the same images differ by {different:.1e} of the largest, "
            f"more than {tolerance:.0e}, {where(networks, ours, theirs, tolerance)}: "
            "look at strides, padding (of even sizes too), pooling and activations."
        )


def where(networks, ours, theirs, tolerance):
    """From which layer on two networks differ."""
    pairs = [(our.output, their.output) for our, their in zip(ours, theirs)]
    for our, their, found, expected in zip(ours, theirs, *outputs(networks, pairs)):
        # A source may have its activation within the convolution; what is negative shows in the layers behind.
        if difference(np.maximum(found, 0), np.maximum(expected, 0)) > tolerance:
            shapes = f", of shapes {found.shape[1:]} and {expected.shape[1:]}" if found.shape != expected.shape else ""
            return f"and the first outputs that do are those of {our.layer.name} and {their.layer.name}{shapes}"
    return f"though the outputs of {ours[-1].layer.name}, the last layer, do not"


def outputs(networks, pairs):
    """What two networks give at pairs of symbolic tensors: for each network a list of arrays."""
    found = []
    for (image, images), tensors in zip(networks, zip(*pairs)):
        # A dict, since Keras gives what is in a list of one without the list.
        values = keras.Model(image, dict(enumerate(tensors)))(images, training=False)
        found.append([ops.convert_to_numpy(ops.cast(values[index], "float32")) for index in range(len(tensors))])
    return found


def difference(found, expected):
    """The largest difference of two arrays in units of the second one's largest value; infinite if shapes differ."""
    if found.shape != expected.shape:
        return np.inf
    return np.nan_to_num(np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-12), nan=np.inf)
