"""Weights of a published network for a sub-net of the same architecture."""

import dataclasses
import itertools

import keras
import numpy as np
from keras import ops

from ddnn_keras.depths import output_key
from ddnn_keras.graph import nodes_before, without_nesting

# Largest difference of features between source and sub-net, in units of the largest feature: rounding errors of a
# hundred layers stay an order of magnitude below, and any other function is far above.
TOLERANCE = 1e-3
# bfloat16 rounds each layer's output by up to 1/256.
TOLERANCE_OF_MIXED_PRECISION = 0.1

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
            `ResNetBackbone`).
        depth: Which of the model's depths. Defaults to the full-net.
        channels: The order in which the source takes colours; `model` takes RGB in any case. `"rgb"` (the default), or
            `"bgr"` for the VGG of `keras.applications` with `weights="imagenet"`, which was trained with
            `pixel_mean=(123.68, 116.779, 103.939)` and `pixel_std=1`.

    Raises:
        ValueError: If the source is of another architecture; the message names the first layer that differs. If
            `channels` is not as above.

    Example:
    >>> import keras
    >>> from ddnn_keras import DDNN
    >>> source = keras.applications.VGG16(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    >>> model = DDNN(depths=(11, 16), backbone="vgg", num_classes=5)
    >>> load_pretrained(model, source, depth=16)
    """
    if channels not in CHANNELS:
        raise ValueError(f"`channels` must be 'rgb' or 'bgr'. Received: channels={channels!r}")
    depth = list(model.depths)[-1] if depth is None else depth
    subnet = model.subnet(depth)
    before = subnet.get_weights()
    if len(source.outputs) != 1:
        raise ValueError(f"`source` must have one output. Received: {source.name!r} with {len(source.outputs)}")
    whole = without_nesting(source)
    output = whole.outputs[0]
    try:
        *ours, our_classifier = convolutions_in_order(subnet.output)
        theirs, their_classifier = without_classifier(convolutions_in_order(output), len(ours))
        if their_classifier and their_classifier.shape == our_classifier.shape:
            our_classifier.layer.set_weights(their_classifier.layer.get_weights())
        copy_weights(ours, theirs)
        copy_normalizations(normalizations_apart(subnet.output), normalizations_apart(output))
        if channels == "bgr":
            reverse_colours(ours[0].layer)
        features = their_classifier.input if their_classifier else output
        check_features(model, subnet, keras.Model(whole.inputs, features), channels)
    except ValueError as error:
        subnet.set_weights(before)
        raise ValueError(f"`source` {source.name!r} is not the architecture of {output_key(depth)}: {error}") from None


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution or dense layer within a network, and the batch normalisation of its output if there is one.

    Args:
        layer: The layer.
        input: What it is called on, a `keras.KerasTensor`.
        normalization: The batch normalisation, or `None`.
        level: How many convolutions the longest way from the image has, this one included.
    """

    layer: keras.layers.Layer
    input: keras.KerasTensor
    normalization: keras.layers.BatchNormalization | None
    level: int

    @property
    def shape(self):
        """The shape of its kernel."""
        return tuple(self.layer.kernel.shape)

    @property
    def weight_shapes(self):
        """The shapes of its weights: kernel, and bias if it has one."""
        return [weight.shape for weight in self.layer.get_weights()]


def convolutions_in_order(output):
    """The convolutions that lead to a symbolic tensor.

    In the order of their level, which is the same however a network was written down; two of one level, such as the
    first convolution of a block and the projection beside it, differ in their kernels' shapes.

    Args:
        output: A `keras.KerasTensor`.

    Returns:
        A list of `Convolution`.
    """
    levels = layer_levels(output)
    behind = {
        id(layer_of(node.input_tensors[0])): node.operation
        for node, _ in levels
        if isinstance(node.operation, keras.layers.BatchNormalization)
    }
    convolutions = [
        Convolution(node.operation, node.input_tensors[0], behind.get(id(node.operation)), level)
        for node, level in levels
        if hasattr(node.operation, "kernel")
    ]
    return sorted(convolutions, key=lambda convolution: (convolution.level, convolution.shape))


def normalizations_apart(output):
    """The batch normalisations that are not behind a convolution, as in a DenseNet, in the order of their level."""
    apart = [
        (level, node.operation)
        for node, level in layer_levels(output)
        if isinstance(node.operation, keras.layers.BatchNormalization)
        and not hasattr(layer_of(node.input_tensors[0]), "kernel")
    ]
    return [layer for _, layer in sorted(apart, key=lambda pair: pair[0])]


def layer_of(tensor):
    """The layer that gave a symbolic tensor."""
    return tensor._keras_history.operation


def layer_levels(output):
    """The layers that lead to a symbolic tensor.

    Args:
        output: A `keras.KerasTensor`.

    Returns:
        A list of pairs of a layer's call, Keras' node, and its level.
    """
    levels, found = {}, []
    for node in nodes_before([output]):
        level = max((levels[id(tensor)] for tensor in node.input_tensors), default=0)
        level += hasattr(node.operation, "kernel")
        found.append((node, level))
        levels.update((id(tensor), level) for tensor in node.output_tensors)
    return found


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
    *scale_and_offset, mean, variance = their.get_weights()
    return *scale_and_offset, mean, np.maximum(variance + their.epsilon - our.epsilon, 0)


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


def check_features(model, subnet, source, channels):
    """Raises a `ValueError` unless both compute the same features of random images."""
    images = np.random.default_rng(0).integers(0, 256, (2, *subnet.input_shape[1:])).astype("float32")
    normalized = model.get_layer("normalize_pixels")(images)
    found = keras.Model(subnet.input, subnet.layers[-1].input)(images, training=False)
    expected = source(normalized[..., ::-1] if channels == "bgr" else normalized, training=False)
    expected = ops.mean(expected, axis=(1, 2)) if len(expected.shape) == 4 else expected
    found, expected = (ops.convert_to_numpy(ops.cast(value, "float32")) for value in (found, expected))
    difference = np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-12)
    tolerance = TOLERANCE if model.compute_dtype == "float32" else TOLERANCE_OF_MIXED_PRECISION
    if not difference <= tolerance:
        raise ValueError(
            f"their layers have the same shapes, but the features of the same images differ by {difference:.1e} of the "
            f"largest, more than {tolerance:.0e}: look at strides, padding (of even sizes too) and activations."
        )
