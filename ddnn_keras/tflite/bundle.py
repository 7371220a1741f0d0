"""A bundle: one file with a signature for each of several sub-nets, in which common weights are stored once.

Each sub-net is converted by itself. Then the files are put together, and then common weights are shared. TensorFlow's
converter takes several signatures too. But in version 2.21, its int16x8 files are wrong in all but the first one.
"""

import keras
import numpy as np

from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.model_copies import in_float32
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.weight_sharing import EMPTY_BUFFER, index_of, share_weights


def convert_bundle(subnets, mode=MODES["none"], calibration_images=None):
    """Converts a dict of sub-nets by signature to one flatbuffer that stores common weights once, see `convert`."""
    if len(subnets) == 1:
        ((signature, subnet),) = subnets.items()
        return convert(subnet, mode, calibration_images, signature)
    files = {
        signature: convert(with_positive_scales(subnet, mode.smallest_scale), mode, calibration_images)
        for signature, subnet in subnets.items()
    }
    return share_weights(concatenate(files))


def with_positive_scales(subnet, smallest):
    """A float32 copy in which scales of batch normalisation between 0 and `smallest` become `smallest`.

    Weights times 0 would be 0. Then a depth could not share them with the others any more.
    """
    copy = in_float32(subnet)
    for layer in copy.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            gamma = keras.ops.convert_to_numpy(layer.gamma)
            layer.gamma.assign(np.where((gamma >= 0) & (gamma < smallest), smallest, gamma))
    return copy


def concatenate(contents):
    """Puts files of one signature each together, without sharing anything yet: a dict from signatures to bytes."""
    trees = {signature: parse(content) for signature, content in contents.items()}
    bundle, *others = trees.values()
    for tree in others:
        append(bundle, tree)
    for index, (signature, definition, graph) in enumerate(zip(trees, bundle.signatureDefs, bundle.subgraphs)):
        definition.subgraphIndex, definition.signatureKey, graph.name = index, signature, signature
    return serialize(bundle)


def append(bundle, tree):
    """Adds the graph of one tree to another, with its operators and buffers."""
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
