"""Quantization-aware training: the network computes in training as its int8 file will.

The forward pass rounds weights and activations to 8 bits, and the gradient ignores the rounding ("Quantization and
Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", https://arxiv.org/abs/1712.05877). Scales
are TFLite's: a symmetric one for each output channel of a kernel, and one for each activation tensor.

Batch normalisation multiplies each channel by a positive factor, which the channel's scale absorbs. So all paths that
share a convolution have the same rounded weights.
"""

import itertools

import keras
from keras import ops

from ddnn_keras.network.graph import copy_layer_weights, has_kernel, readers
from ddnn_keras.pixels import checked_raw_images, in_batches

BITS = 8
LEVELS = 127  # on each side of zero, for weights
MOMENTUM = 0.99  # of the moving average of batches' extremes, an activation's range
SMALLEST_RANGE = 1e-6
DTYPE = "float32"  # whatever the global policy, because half precision rounds otherwise than a file

# TFLite fuses these functions with the operator before, so that nothing is rounded in between.
FUSED = (keras.activations.linear, keras.activations.relu, keras.activations.relu6)
# These only move values, which keep their scale.
ROUTING = (keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D, keras.layers.Flatten, keras.layers.Dropout)
WEIGHTED = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def quantization_aware(model, images):
    """Copies a network into one that computes in training as its int8 file will.

    Train the copy for a few epochs at a small learning rate, with or without distillation. Then export its sub-nets to
    int8 files and bundles as usual.

    Args:
        model: A trained `DDNN`. It is not changed.
        images: Some dozen training images, raw pixels 0..255 of shape `(n, height, width, channels)`. The ranges of
            activations start from them.

    Returns:
        A `DDNN` in float32 with the same frozen layers, not compiled.

    Example:
    >>> import numpy as np
    >>> from ddnn_keras import DDNN
    >>> from ddnn_keras.quantization_aware import quantization_aware
    >>> model = DDNN(depths=(8, 14), backbone="resnet_cifar", width=4, input_shape=(16, 16, 1))
    >>> images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1))
    >>> quantization_aware(model, images).subnet(8).output_shape
    (None, 10)
    """
    check_network(model)
    images = checked_raw_images("images", images, model.input_shape[1:])
    copy = copied(model, quantization_aware=True)
    observe(copy, images)
    return copy


def copied(model, quantization_aware):
    """Copies a `DDNN` into one in float32 with the same weights that rounds as its int8 file does, or nothing."""
    copy = type(model).from_config({**model.get_config(), "quantization_aware": quantization_aware, "dtype": DTYPE})
    for layer in model.layers:
        if layer.weights and not isinstance(layer, FakeQuantization):
            copy_layer_weights(layer, copy.get_layer(layer.name))
    return copy


def check_network(model):
    """Raises a `ValueError` unless `model` is a `DDNN` without fake quantization."""
    if not hasattr(model, "depths"):
        raise ValueError(f"`model` must be a ddnn_keras.DDNN. Received: model={model!r}")
    if is_quantization_aware(model):
        raise ValueError(f"`model` must not be quantization-aware yet. Received: model={model!r}, which is")


def fake_quantized(image, outputs):
    """Rebuilds the graph from `image` to `outputs`, in any structure, with rounded kernels and activations."""
    # Flat, because Keras sorts the keys of dicts.
    tensors = keras.tree.flatten(outputs)
    following = readers(tensors)
    wrapped, numbers = {}, itertools.count()

    def call(layer, *args, **kwargs):
        quantized = layer
        if has_kernel(layer) and not isinstance(layer, WEIGHTED):
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
        # Files call frozen layers by their names, and Keras' own names differ between processes.
        return FakeQuantization(name=f"fake_quantization_{next(numbers)}", dtype=DTYPE)(x)

    graph = keras.models.clone_model(keras.Model(image, tensors), call_function=call)
    return graph.input, keras.tree.pack_sequence_as(outputs, graph.outputs)


def is_rounded(layer, following):
    """Whether TFLite rounds a layer's output before the `following` layers read it. Logits are the converter's task."""
    return not isinstance(layer, ROUTING) and not all(is_fused(reader) for reader in following)


def is_fused(layer):
    """Whether TFLite fuses a layer with the operator before it."""
    if isinstance(layer, keras.layers.ReLU):
        return layer.max_value in (None, 6) and not layer.negative_slope and not layer.threshold
    if isinstance(layer, keras.layers.Activation):
        return layer.activation in FUSED
    return isinstance(layer, keras.layers.BatchNormalization)


def observe(model, images):
    """Sets the ranges of a quantization-aware network's activations from images."""
    layers = [layer for layer in model.layers if isinstance(layer, FakeQuantization)]
    for layer in layers:
        layer.observing = True
    for batch in in_batches(images):
        model(ops.convert_to_tensor(batch), training=False)
    for layer in layers:
        layer.observing = False


def is_quantization_aware(model):
    """Whether a model has fake quantization."""
    return any(isinstance(layer, FakeQuantization | QuantizedKernel) for layer in model.layers)


@keras.saving.register_keras_serializable("ddnn_keras")
class FakeQuantization(keras.layers.Layer):
    """Rounds an activation to 8 bits, within a range that it learns in training."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.observing = False

    def build(self, input_shape):
        """Makes the variables: the range, and the number of batches behind it."""
        range_of = {"shape": (), "trainable": False, "aggregation": "mean"}
        self.low = self.add_weight(name="low", initializer="zeros", **range_of)
        self.high = self.add_weight(name="high", initializer="ones", **range_of)
        self.batches = self.add_weight(name="batches", initializer="zeros", **range_of)

    def call(self, inputs, training=False):
        """Rounds the inputs. In training, it first updates the range, unless the layer is frozen."""
        if (training and self.trainable) or self.observing:
            self._observe(inputs)
        rounded = keras.quantizers.fake_quant_with_min_max_vars(inputs, self.low, self.high, num_bits=BITS)
        if not training:
            return rounded
        # The same gradient. TensorFlow's own is not deterministic on a GPU.
        inside = ops.logical_and(ops.greater_equal(inputs, self.low), ops.less_equal(inputs, self.high))
        within = ops.where(inside, inputs, 0.0)
        return within + ops.stop_gradient(rounded - within)

    def compute_output_shape(self, input_shape):
        """The same, which Keras does not find out behind a product with a number."""
        return input_shape

    def _observe(self, inputs):
        # The range always holds zero, because padding needs it.
        low, high = ops.minimum(ops.min(inputs), 0.0), ops.maximum(ops.max(inputs), SMALLEST_RANGE)
        self.batches.assign(self.batches + 1)
        rate = ops.maximum(1 / self.batches, 1 - MOMENTUM)
        self.low.assign(self.low + rate * (low - self.low))
        self.high.assign(self.high + rate * (high - self.high))


@keras.saving.register_keras_serializable("ddnn_keras")
class QuantizedKernel(keras.layers.Wrapper):
    """A convolution or dense layer with a kernel rounded to 8 bits, with a symmetric scale for each output channel."""

    @property
    def kernel(self):
        """The variable before rounding."""
        return self.layer.kernel

    def call(self, inputs):
        """The layer's output with the rounded kernel."""
        rounded = rounded_kernel(self.layer)

        def values(variables):
            return [rounded if variable is self.kernel else variable.value for variable in variables]

        # The layer's own code, with the rounded kernel in place of the variable.
        trainable, fixed = self.layer.trainable_variables, self.layer.non_trainable_variables
        outputs, _ = self.layer.stateless_call(values(trainable), values(fixed), inputs)
        return outputs


def rounded_kernel(layer):
    """A layer's kernel on TFLite's 8-bit grid. The gradient ignores the rounding."""
    kernel = ops.convert_to_tensor(layer.kernel)
    # A depthwise kernel has an output channel for each pair of its last two axes.
    axes = (0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else tuple(range(len(kernel.shape) - 1))
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    scale = ops.maximum(largest, SMALLEST_RANGE) / LEVELS
    return kernel + ops.stop_gradient(ops.round(kernel / scale) * scale - kernel)
