"""Weights of a published network for a sub-net of the same architecture."""

import contextlib
import itertools

import keras
import numpy as np
from keras import ops

from ddnn_keras.network.graph import check_functional, readers, without_nesting
from ddnn_keras.network.layer_order import convolutions_in_order, normalizations_apart
from ddnn_keras.quantization_aware import check_network

CHANNELS = ("rgb", "bgr")


def load_pretrained(model, source, depth=None, channels="rgb"):
    """Gives one depth the weights of a Keras model of the same architecture.

    Layers are matched in their order. A source without batch normalisation, such as `keras.applications.VGG16`, makes
    the sub-net's the identity. The classifier is taken over where it has as many classes; otherwise, and where the
    source has none, the sub-net keeps its own. Other depths get the convolutions that they share. Afterwards both
    compute the features of random images; if these differ, the network is left as it was.

    Args:
        model: A `ddnn_keras.DDNN`. Its `pixel_mean` and `pixel_std` should be those of the source's preprocessing.
        source: A functional `keras.Model` that takes normalised images of the same shape, for instance from
            `keras.applications` (`VGG16`, `VGG19`, `DenseNet121`, `DenseNet169`, `DenseNet201`; `MobileNetV2` at sizes
            of 32 k + 1 pixels, since it pads even sizes on one side) or KerasHub (`ResNetImageClassifier`,
            `ResNetBackbone`). One that begins with a `Rescaling` or `Normalization` layer takes raw pixels, as a
            sub-net of another `DDNN` does. A whole network's weights, for as many depths but other classes, are what
            `model.load_weights("other.keras", skip_mismatch=True)` takes over.
        depth: Which of the model's trained depths. Defaults to the full-net.
        channels: The order in which the source takes colours; `model` takes RGB in any case. `"rgb"` (the default), or
            `"bgr"` for the VGG of `keras.applications` with `weights="imagenet"`, which was trained with
            `pixel_mean=(123.68, 116.779, 103.939)` and `pixel_std=1`.

    Raises:
        ValueError: If the source is of another architecture; the message names the first layer that differs. If
            `depth` or `channels` is not as above.

    Example:
    >>> import keras
    >>> from ddnn_keras import DDNN
    >>> source = keras.applications.VGG16(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    >>> model = DDNN(depths=(11, 16), backbone="vgg", num_classes=5)
    >>> load_pretrained(model, source, depth=16)
    """
    if channels not in CHANNELS:
        raise ValueError(f"`channels` must be 'rgb' or 'bgr'. Received: channels={channels!r}")
    check_network(model)
    subnet = model.subnet(list(model.depths)[-1] if depth is None else depth)
    if not any(subnet.output is output for output in model.output.values()):
        raise ValueError(f"`depth` must be a trained one, whose weights the network keeps. Received: depth={depth!r}")
    check_functional(source)
    check_images(source.inputs[0].shape[1:], subnet.input_shape[1:])
    with undone_if_it_fails(subnet):
        try:
            take_over(model, subnet, without_nesting(source), channels)
        except ValueError as error:
            raise ValueError(f"`source` {source.name!r} is not the architecture of {subnet.name}: {error}") from None


def check_images(theirs, ours):
    """Raises a `ValueError` unless a source that takes images of the shape `theirs`, `None` for any, takes `ours`."""
    if len(theirs) != 3 or any(their not in (None, our) for their, our in zip(theirs, ours)):
        raise ValueError(f"`source` must take images of the shape {tuple(ours)}. Received: one that takes {theirs}")


@contextlib.contextmanager
def undone_if_it_fails(network):
    """Gives a network its weights back if what is done within is not brought to its end."""
    before = network.get_weights()
    try:
        yield
    except BaseException:
        network.set_weights(before)
        raise


def take_over(model, subnet, source, channels):
    """Gives a sub-net the source's weights.

    Raises:
        ValueError: If one computes something else than the other.
    """
    output = source.outputs[0]
    *ours, our_classifier = convolutions_in_order(subnet.output)
    theirs, their_classifier = without_classifier(convolutions_in_order(output), len(ours))
    if their_classifier and their_classifier.shape == our_classifier.shape:
        kernel, *bias = their_classifier.layer.get_weights()
        our_classifier.layer.set_weights([kernel, *(bias or [np.zeros(kernel.shape[-1:])])])
    copy_weights(ours, theirs)
    copy_normalizations(normalizations_apart(subnet.output), normalizations_apart(output))
    if channels == "bgr":
        reverse_colours(ours[0].layer)
    features = our_classifier.input, their_classifier.input if their_classifier else output
    images = np.random.default_rng(0).integers(0, 256, (2, *subnet.input_shape[1:])).astype("float32")
    expected = images if takes_raw_pixels(source) else model.get_layer("normalize_pixels")(images)
    networks = (subnet.input, images), (source.inputs[0], expected[..., ::-1] if channels == "bgr" else expected)
    check_same_function(networks, features, ours, theirs)


def takes_raw_pixels(source):
    """Whether the first layer of a network normalises pixels."""
    first = readers(source.outputs)[source.inputs[0]._keras_history.operation.name]
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in first)


def without_classifier(convolutions, count):
    """The layers before the classifier, and the classifier: a dense layer behind `count` others; else `None`."""
    if len(convolutions) == count + 1 and isinstance(convolutions[-1].layer, keras.layers.Dense):
        return convolutions[:-1], convolutions[-1]
    return convolutions, None


def reverse_colours(convolution):
    """Lets the first convolution take the channels of an image in the other order."""
    kernel, *bias = convolution.get_weights()
    convolution.set_weights([kernel[:, :, ::-1], *bias])


def copy_weights(ours, theirs):
    """Copies the weights of each layer, and what normalises its output."""
    normalized = any(their.normalization for their in theirs)
    for our, their in itertools.zip_longest(ours, theirs):
        if our is None or their is None or our.weight_shapes != their.weight_shapes:
            raise ValueError(f"{described(our)}, and the source {described(their)}.")
        our.layer.set_weights(their.layer.get_weights())
        if our.normalization and (their.normalization or not normalized):
            our.normalization.set_weights(normalization_weights(our.normalization, their.normalization))
            make_scales_positive(our.layer, our.normalization)


def copy_normalizations(ours, theirs):
    """Copies the weights of batch normalisations."""
    for our, their in itertools.zip_longest(ours, theirs):
        here, there = (layer and layer.moving_mean.shape for layer in (our, their))
        if here != there:
            name = our.name if our else "nothing"
            raise ValueError(f"has {name} for a normalisation of {here} channels, and the source has one of {there}.")
        our.set_weights(normalization_weights(our, their))


def normalization_weights(our, their):
    """The weights with which our batch normalisation computes what theirs does, or nothing at all if there is none."""
    shape = our.gamma.shape
    if their is None:
        return np.ones(shape), np.zeros(shape), np.zeros(shape), np.full(shape, 1 - our.epsilon)
    mean, variance = their.get_weights()[-2:]
    gamma = ops.convert_to_numpy(their.gamma) if their.scale else np.ones(shape)
    beta = ops.convert_to_numpy(their.beta) if their.center else np.zeros(shape)
    return gamma, beta, mean, np.maximum(variance + their.epsilon - our.epsilon, 0)


def make_scales_positive(layer, normalization):
    """Turns the sign of every channel that is scaled by a negative number, before and in the scale: the same function.

    In training our scales are never negative; without this, the first step would set them to 0.
    """
    gamma, beta, mean, variance = normalization.get_weights()
    signs = np.where(gamma < 0, -1, 1).astype(gamma.dtype)
    kernel, *bias = layer.get_weights()
    # A depthwise kernel has its channels on the last axis but one, and one output for each.
    signs_of_kernel = signs[:, np.newaxis] if isinstance(layer, keras.layers.DepthwiseConv2D) else signs
    layer.set_weights([kernel * signs_of_kernel, *(values * signs for values in bias)])
    normalization.set_weights([gamma * signs, beta, mean * signs, variance])


def described(convolution):
    """A layer, for an error message."""
    if convolution is None:
        return "has nothing there"
    return f"has {convolution.layer.name} with weights of shapes {convolution.weight_shapes}"


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
        ours: The one's layers, a list of `ddnn_keras.network.layer_order.Convolution`.
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
    """How much the outputs of these layers may differ, a list of `ddnn_keras.network.layer_order.Convolution`."""
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
