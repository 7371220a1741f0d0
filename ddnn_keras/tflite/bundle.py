"""A bundle: one file with a signature for each of several sub-nets.

Each is converted by itself, then the files are put together, then what they have in common is stored once. TensorFlow's
converter takes several signatures too, but in 2.21 its int16x8 files then compute something else in all of them but the
first; and so each depth of a bundle is what its own file is.
"""

import keras
import numpy as np

from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.convert import convert, image_shape
from ddnn_keras.tflite.model_copies import in_float32
from ddnn_keras.tflite.modes import mode_named
from ddnn_keras.tflite.weight_sharing import EMPTY_BUFFER, share_weights


def convert_bundle(subnets, quantize="none", calibration_images=None, io_dtype=None):
    """Converts sub-nets of one network to one TFLite flatbuffer that stores their common weights once.

    Args:
        subnets: A dict from names of signatures to models, see `convert`, all of one input shape.
        quantize: See `convert`.
        calibration_images: See `convert`.
        io_dtype: See `convert`.

    Returns:
        `bytes`.

    Raises:
        ValueError: If an argument is not as above.
    """
    check_subnets(subnets)
    smallest = mode_named(quantize).smallest_scale
    return share_weights(
        concatenate(
            {
                signature: convert(
                    with_positive_scales(subnet, smallest), quantize, calibration_images, io_dtype=io_dtype
                )
                for signature, subnet in subnets.items()
            }
        )
    )


def check_subnets(subnets):
    """Raises a `ValueError` unless `subnets` is a dict from names to models of one input shape."""
    if not isinstance(subnets, dict) or not subnets or not all(name and isinstance(name, str) for name in subnets):
        raise ValueError(f"`subnets` must be a dict from names to models. Received: subnets={subnets!r}")
    shapes = {signature: image_shape(subnet) for signature, subnet in subnets.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"`subnets` must take images of one shape. Received: {shapes}")


def with_positive_scales(subnet, smallest):
    """A float32 copy in which no scale of batch normalisation is between 0 and `smallest`, which takes their place.

    Times 0, or nearly so, rounding would leave nothing of the weights that a channel has in the other depths.
    """
    copy = in_float32(subnet)
    for layer in copy.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            gamma = keras.ops.convert_to_numpy(layer.gamma)
            layer.gamma.assign(np.where((gamma >= 0) & (gamma < smallest), smallest, gamma))
    return copy


def concatenate(contents):
    """Puts files together, without sharing anything yet.

    Args:
        contents: A dict from names of signatures to the `bytes` of `.tflite` files with one signature each.

    Returns:
        The `bytes` of a file with all of these signatures, in the same order.
    """
    trees = {signature: parse(content) for signature, content in contents.items()}
    bundle, *others = trees.values()
    for tree in others:
        append(bundle, tree)
    for index, (signature, definition, graph) in enumerate(zip(trees, bundle.signatureDefs, bundle.subgraphs)):
        definition.subgraphIndex, definition.signatureKey, graph.name = index, signature, signature
    return serialize(bundle)


def append(bundle, tree):
    """Adds the graph of one tree to another, with all that it refers to."""
    codes = [index_of(bundle.operatorCodes, code) for code in tree.operatorCodes]
    offset = len(bundle.buffers)
    for graph in tree.subgraphs:
        for operator in graph.operators:
            operator.opcodeIndex = codes[operator.opcodeIndex]
        for tensor in graph.tensors:
            if tensor.buffer != EMPTY_BUFFER:
                tensor.buffer += offset
    bundle.buffers += tree.buffers
    bundle.subgraphs += tree.subgraphs
    bundle.signatureDefs += tree.signatureDefs


def index_of(codes, code):
    """The index of an operator's code among others, which it joins if it is new."""
    for index, known in enumerate(codes):
        if vars(known) == vars(code):
            return index
    codes.append(code)
    return len(codes) - 1
