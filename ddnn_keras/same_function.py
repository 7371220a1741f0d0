"""Whether two networks with the same weights compute the same; if not, from which layer on."""

import keras
import numpy as np
from keras import ops

# Largest difference of two networks' outputs, in units of the largest: rounding errors of a hundred layers stay an
# order of magnitude below, and other functions are far above where the outputs depend on the image.
TOLERANCE = 1e-3
# bfloat16 rounds each layer's output by up to 1/256.
TOLERANCE_OF_MIXED_PRECISION = 0.1


def check_same_function(networks, features, ours, theirs):
    """Compares what two networks compute of the same images, layer by layer.

    Args:
        networks: For each network its symbolic input and its images.
        features: The symbolic features of each; with positions, their mean is taken.
        ours: The one's layers, a list of `ddnn_keras.layer_order.Convolution`.
        theirs: The other's, as many.

    Raises:
        ValueError: If they differ. The message names the first layer whose output does.
    """
    # All layers, since where a signal fades from layer to layer the features hardly depend on the image.
    *found, our_features = outputs(*networks[0], [*(our.output for our in ours), features[0]])
    *expected, their_features = outputs(*networks[1], [*(their.output for their in theirs), features[1]])
    tolerance = tolerance_of([*ours, *theirs])
    for our, their, here, there in zip(ours, theirs, found, expected):
        # A source may have its activation within the convolution; what is negative shows in the layers behind.
        different = difference(np.maximum(here, 0), np.maximum(there, 0))
        if different > tolerance:
            shapes = f", of shapes {here.shape[1:]} and {there.shape[1:]}" if here.shape != there.shape else ""
            first = f"the first outputs that differ are those of {our.layer.name} and {their.layer.name}{shapes}"
            raise ValueError(not_the_same(first, different, tolerance))
    if our_features.ndim < their_features.ndim:
        their_features = their_features.mean((1, 2))
    different = difference(our_features, their_features)
    if different > tolerance:
        first = f"the features differ, though the outputs of {ours[-1].layer.name}, the last layer, do not"
        raise ValueError(not_the_same(first, different, tolerance))


def tolerance_of(layers):
    """How much the outputs of these layers may differ, a list of `ddnn_keras.layer_order.Convolution`."""
    precise = all(layer.layer.compute_dtype in ("float32", "float64") for layer in layers)
    return TOLERANCE if precise else TOLERANCE_OF_MIXED_PRECISION


def not_the_same(first, different, tolerance):
    """An error message."""
    return (
        f"with the same weights and images, {first}, by {different:.1e} of the largest, more than {tolerance:.0e}: "
        "look at strides, padding (of even sizes too), pooling, activations and what normalises pixels within a source."
    )


def outputs(image, images, tensors):
    """What a network from the symbolic `image` gives for `images` at symbolic tensors: a list of arrays."""
    # A dict, since Keras gives what is in a list of one without the list.
    values = keras.Model(image, dict(enumerate(tensors)))(images, training=False)
    return [ops.convert_to_numpy(ops.cast(values[index], "float32")) for index in range(len(tensors))]


def difference(found, expected):
    """The largest difference of two arrays in units of the second one's largest value; infinite if shapes differ."""
    if found.shape != expected.shape:
        return np.inf
    return np.nan_to_num(np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-12), nan=np.inf)
