"""The layers of a network in an order that does not depend on how it was written down."""

import dataclasses

import keras

from ddnn_keras.network.graph import nodes_before


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution or dense layer within a network, and the batch normalisation of its output if there is one.

    Args:
        layer: The layer.
        input: What it is called on, a `keras.KerasTensor`.
        output: What it gives, a `keras.KerasTensor`; behind the batch normalisation where there is one.
        normalization: The batch normalisation, or `None`.
        level: How many convolutions the longest way from the image has, this one included.
    """

    layer: keras.layers.Layer
    input: keras.KerasTensor
    output: keras.KerasTensor
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
        id(layer_of(node.input_tensors[0])): node
        for node, _ in levels
        if isinstance(node.operation, keras.layers.BatchNormalization)
    }
    convolutions = [
        convolution(node, behind.get(id(node.operation)), level)
        for node, level in levels
        if hasattr(node.operation, "kernel")
    ]
    return sorted(convolutions, key=lambda convolution: (convolution.level, convolution.shape))


def convolution(node, normalizing, level):
    """The `Convolution` of a layer's call, and of the call of the batch normalisation behind it or `None`."""
    return Convolution(
        layer=node.operation,
        input=node.input_tensors[0],
        output=(normalizing or node).output_tensors[0],
        normalization=normalizing and normalizing.operation,
        level=level,
    )


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
