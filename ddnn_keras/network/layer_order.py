"""The convolutions of a network in an order that does not depend on how the network was written down."""

import dataclasses

import keras

from ddnn_keras.network.graph import layer_of, nodes_before


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution or dense layer within a network, and the batch normalisation of its output if there is one."""

    layer: keras.layers.Layer
    input: keras.KerasTensor
    output: keras.KerasTensor  # behind the batch normalisation
    normalization: keras.layers.BatchNormalization | None
    level: int  # the number of convolutions on the longest way from the image, including this one

    @property
    def shape(self):
        """The shape of the kernel."""
        return tuple(self.layer.kernel.shape)

    @property
    def weight_shapes(self):
        """The shapes of the kernel and, if there is one, of the bias."""
        return [weight.shape for weight in self.layer.get_weights()]


def convolutions_in_order(output):
    """The convolutions and dense layers that lead to a symbolic tensor, a list of `Convolution`.

    They are sorted by level. Two of one level, such as a block's first convolution and its projection, are sorted by
    the shapes of their kernels.
    """
    levels = layer_levels(output)
    normalizations = {
        id(layer_of(node.input_tensors[0])): node
        for node, _ in levels
        if isinstance(node.operation, keras.layers.BatchNormalization)
    }
    convolutions = []
    for node, level in levels:
        if hasattr(node.operation, "kernel"):
            behind = normalizations.get(id(node.operation))
            (output,) = (behind or node).output_tensors
            convolutions.append(
                Convolution(node.operation, node.input_tensors[0], output, behind and behind.operation, level)
            )
    return sorted(convolutions, key=lambda convolution: (convolution.level, convolution.shape))


def normalizations_apart(output):
    """The batch normalisations that are not behind a convolution, as in a DenseNet, sorted by level."""
    apart = [
        (level, node.operation)
        for node, level in layer_levels(output)
        if isinstance(node.operation, keras.layers.BatchNormalization)
        and not hasattr(layer_of(node.input_tensors[0]), "kernel")
    ]
    return [layer for _, layer in sorted(apart, key=lambda pair: pair[0])]


def layer_levels(output):
    """The calls of layers that lead to a symbolic tensor: a list of pairs of Keras' node and its level."""
    levels, found = {}, []
    for node in nodes_before([output]):
        level = max((levels[id(tensor)] for tensor in node.input_tensors), default=0)
        level += hasattr(node.operation, "kernel")
        found.append((node, level))
        levels.update((id(tensor), level) for tensor in node.output_tensors)
    return found
