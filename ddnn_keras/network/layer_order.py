"""The convolutions of a network in an order that does not depend on how the network was written down."""

import dataclasses

import keras

from ddnn_keras.network.graph import node_of, nodes_before


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution or dense layer within a network, and the batch normalisation of its output if there is one."""

    layer: keras.layers.Layer
    input: keras.KerasTensor
    output: keras.KerasTensor  # behind the batch normalisation
    normalization: keras.layers.BatchNormalization | None

    @property
    def weight_shapes(self):
        """The shapes of the kernel and, if there is one, of the bias."""
        return [weight.shape for weight in self.layer.get_weights()]


def convolutions_in_order(output):
    """The convolutions and dense layers that lead to a symbolic tensor: a list of `Convolution`, sorted by level.

    Two of one level, such as a block's first convolution and its projection, are sorted by the shapes of their kernels.
    """
    nodes = nodes_by_level(output)
    normalizations = {
        id(node_of(node.input_tensors[0]).operation): node
        for node in nodes
        if isinstance(node.operation, keras.layers.BatchNormalization)
    }
    convolutions = []
    for node in nodes:
        if hasattr(node.operation, "kernel"):
            behind = normalizations.get(id(node.operation))
            (output,) = (behind or node).output_tensors
            convolutions.append(Convolution(node.operation, node.input_tensors[0], output, behind and behind.operation))
    return convolutions


def normalizations_apart(output):
    """The batch normalisations that are not behind a convolution, as in a DenseNet, sorted by level."""
    return [
        node.operation
        for node in nodes_by_level(output)
        if isinstance(node.operation, keras.layers.BatchNormalization)
        and not hasattr(node_of(node.input_tensors[0]).operation, "kernel")
    ]


def nodes_by_level(output):
    """Keras' nodes before a symbolic tensor, sorted by level: the number of convolutions on the longest way to each."""
    levels, keys = {}, {}
    nodes = nodes_before([output])
    for node in nodes:
        kernel = getattr(node.operation, "kernel", None)
        level = max((levels[id(tensor)] for tensor in node.input_tensors), default=0) + (kernel is not None)
        levels.update((id(tensor), level) for tensor in node.output_tensors)
        keys[id(node)] = level, () if kernel is None else tuple(kernel.shape)
    return sorted(nodes, key=lambda node: keys[id(node)])
