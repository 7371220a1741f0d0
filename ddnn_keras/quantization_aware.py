"""Quantization-aware training: a network computes, while it trains, as its int8 file will.

Weights and activations are rounded to 8 bits in the forward pass, and the gradient passes as if they were not
("Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
https://arxiv.org/abs/1712.05877). The scales are those of TFLite: for weights one for each output channel, symmetric;
for activations one for a tensor, from the range that training saw. Since a scale for each channel takes up whatever
positive factor batch normalisation has, the rounded weights of a convolution are the same on every path that shares it.
"""

import itertools

import keras
from keras import ops

from ddnn_keras.network.graph import readers
from ddnn_keras.pixels import checked_raw_images, in_batches

BITS = 8
LEVELS = 127  # of a symmetric weight, in each direction
# The range of an activation is a moving average of its batches' extremes, of this momentum once so many were seen.
MOMENTUM = 0.99
SMALLEST_RANGE = 1e-6
# Whatever the global policy: eight bits of a half-precision number are no eight bits of a file.
DTYPE = "float32"

# TFLite computes these functions in one operator with what comes before, so that nothing is rounded in between.
FUSED = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)
# These give values that they were given, on the scale of these.
ROUTING = (keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D, keras.layers.Flatten, keras.layers.Dropout)
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def quantization_aware(model, images):
    """A copy of a network that trains as it will run in int8.

    Its depths still share their weights, and its full-net still teaches. It should be trained for a few epochs at a
    small learning rate; then its sub-nets are exported to int8 files and bundles as any others.

    Args:
        model: A trained `DDNN`. It is not changed.
        images: Raw pixels 0..255 of shape `(n, height, width, channels)` from the training set, by which the ranges of
            activations begin; some dozens suffice.

    Returns:
        A `DDNN` in float32, not compiled. Layers that were frozen are.

    Raises:
        ValueError: If an argument is not as above.

    Example:
    >>> import numpy as np
    >>> from ddnn_keras import DDNN
    >>> model = DDNN(depths=(8, 14), backbone="resnet_cifar", width=4, input_shape=(16, 16, 1))
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> quantization_aware(model, images).subnet(8).output_shape
    (None, 10)
    """
    check_network(model)
    images = checked_raw_images("images", images, model.input_shape[1:])
    copy = type(model).from_config({**model.get_config(), "quantization_aware": True, "dtype": DTYPE})
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    observe(copy, images)
    return copy


def check_network(model):
    """Raises a `ValueError` unless `model` is a `DDNN` without fake quantization."""
    if not hasattr(model, "depths"):
        raise ValueError(f"`model` must be a ddnn_keras.DDNN. Received: model={model!r}")
    if is_quantization_aware(model):
        raise ValueError(f"`model` must not be quantization-aware yet. Received: model={model!r}, which is")


def fake_quantized(image, outputs):
    """A graph of layers with every convolution and dense layer, and every tensor that one of them reads, quantized.

    Args:
        image: The graph's input, a `keras.KerasTensor`.
        outputs: Its outputs, in any structure.

    Returns:
        The input of another graph of such layers, and its outputs in the same structure.
    """
    # Flat, because Keras sorts the keys of dicts.
    tensors = keras.tree.flatten(outputs)
    following = readers(tensors)
    wrapped, numbers = {}, itertools.count()

    def call(layer, *args, **kwargs):
        quantized = layer
        if hasattr(layer, "kernel") and not isinstance(layer, WEIGHTED):
            raise ValueError(
                "`quantization_aware` must be False for a network with kernels of other layers than "
                f"{', '.join(known.__name__ for known in WEIGHTED)}. Received: {layer.name}, a {type(layer).__name__}"
            )
        if isinstance(layer, WEIGHTED):
            # The same wrapper on every path, as the layer within.
            quantized = wrapped.setdefault(layer.name, QuantizedKernel(layer, name=layer.name, dtype=DTYPE))
        x = quantized(*args, **kwargs)
        if not is_rounded(layer, following.get(layer.name, [])):
            return x
        # Not a name of Keras', which would be another one in each process: files call frozen layers by their names.
        return FakeQuantization(name=f"fake_quantization_{next(numbers)}", dtype=DTYPE)(x)

    graph = keras.models.clone_model(keras.Model(image, tensors), call_function=call)
    return graph.input, keras.tree.pack_sequence_as(outputs, graph.outputs)


def is_rounded(layer, following):
    """Whether TFLite rounds what a layer gives, before the `following` layers read it.

    The logits, which nothing reads, are left to the converter.
    """
    return not isinstance(layer, ROUTING) and not all(is_fused(reader) for reader in following)


def is_fused(layer):
    """Whether TFLite computes a layer in one operator with what comes before."""
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value in (None, 6) and not layer.negative_slope and not layer.threshold
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in FUSED
    return isinstance(layer, keras.layers.BatchNormalization)


def observe(model, images):
    """Takes the ranges of a quantization-aware network's activations from images, and nothing else."""
    layers = [layer for layer in model.layers if isinstance(layer, FakeQuantization)]
    for layer in layers:
        layer.observing = True
    for batch in in_batches(images):
        model(ops.convert_to_tensor(batch), training=False)
    for layer in layers:
        layer.observing = False


def is_quantization_aware(model):
    """Whether there is any fake quantization in a model."""
    return any(isinstance(layer, FakeQuantization | QuantizedKernel) for layer in model.layers)


@keras.saving.register_keras_serializable("ddnn_keras")
class FakeQuantization(keras.layers.Layer):
    """Rounds an activation to 8 bits, within a range that it learns in training.

    Input and output: a tensor of any shape.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observing = False

    def build(self, input_shape):
        """Makes the range, and the number of batches that it comes from."""
        range_of = {"shape": (), "trainable": False, "aggregation": "mean"}
        self.low = self.add_weight(name="low", initializer="zeros", **range_of)
        self.high = self.add_weight(name="high", initializer="ones", **range_of)
        self.batches = self.add_weight(name="batches", initializer="zeros", **range_of)

    def call(self, inputs, training=False):
        """Takes note of the inputs' range in training, and rounds them."""
        # As in a batch normalisation, what is frozen stands still.
        if (training and self.trainable) or self.observing:
            self._observe(inputs)
        return keras.quantizers.fake_quant_with_min_max_vars(inputs, self.low, self.high, num_bits=BITS)

    def _observe(self, inputs):
        # Zero is always in the range, because padding needs it.
        low, high = ops.minimum(ops.min(inputs), 0.0), ops.maximum(ops.max(inputs), SMALLEST_RANGE)
        self.batches.assign(self.batches + 1)
        rate = ops.maximum(1 / self.batches, 1 - MOMENTUM)
        self.low.assign(self.low + rate * (low - self.low))
        self.high.assign(self.high + rate * (high - self.high))


@keras.saving.register_keras_serializable("ddnn_keras")
class QuantizedKernel(keras.layers.Wrapper):
    """A convolution or dense layer whose kernel is rounded to 8 bits, symmetric, with a scale for each output channel.

    Args:
        layer: A `Conv2D`, `DepthwiseConv2D` or `Dense`.
    """

    @property
    def kernel(self):
        """The variable, not rounded."""
        return self.layer.kernel

    def call(self, inputs):
        """What the layer computes with the rounded kernel."""
        rounded = rounded_kernel(self.layer)

        def values(variables):
            return [rounded if variable is self.kernel else variable.value for variable in variables]

        # The layer's own code, which knows strides, padding and activation, with other values for its variables; where
        # the layer is frozen, none of them is trainable.
        trainable, fixed = self.layer.trainable_variables, self.layer.non_trainable_variables
        outputs, _ = self.layer.stateless_call(values(trainable), values(fixed), inputs)
        return outputs


def rounded_kernel(layer):
    """A layer's kernel on TFLite's 8-bit grid; the gradient passes straight through."""
    kernel = ops.convert_to_tensor(layer.kernel)
    # A depthwise kernel has an output channel for each pair of its last two axes.
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(len(kernel.shape) - 1))
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    scale = ops.maximum(largest, SMALLEST_RANGE) / LEVELS
    return kernel + ops.stop_gradient(ops.round(kernel / scale) * scale - kernel)
