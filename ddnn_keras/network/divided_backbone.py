"""A network of somebody else's as a backbone: its own layers, in stages from which a depth takes the first blocks."""

import keras
import numpy as np

from ddnn_keras.depths import is_positive_integer
from ddnn_keras.network.division import divide, spread_depths
from ddnn_keras.network.graph import check_source, copy_layer_weights
from ddnn_keras.network.untrained_subnets import without_path

NORMALIZATIONS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization, keras.layers.LayerNormalization)
# The families' too, see `ddnn_keras.backbones.layers`.
STATISTICS_MOMENTUM = 0.9


@keras.saving.register_keras_serializable("ddnn_keras")
class DividedBackbone:
    """The blocks of a functional network, see `ddnn_keras.backbones` for what a backbone has.

    The layers of `source` are made anew, each with its own settings. Its weights are not taken.
    """

    def __init__(self, source):
        self.source = source
        self.division = divide(source)
        self.num_stages = len(self.division.stages)
        self.DEPTHS = {self.name_of(self.division.blocks): self.division.blocks}

    def depths(self, depths):
        """The `depths` of a network: a dict from names to blocks per stage, of an integer or of such a dict."""
        if not is_positive_integer(depths):
            return depths
        return {self.name_of(blocks): blocks for blocks in spread_depths(self.division, depths)}

    def name_of(self, blocks):
        """The name of a depth: how many blocks it has in all."""
        return sum(blocks) + self.division.other_blocks

    def stem(self, path, x):
        """Nothing: what is before the first residual block is the first block of the first stage."""
        return x

    def block(self, path, x, stage, index):
        """One block of the source."""
        return self._replayed(self.division.stages[stage][index], path, x)

    def head(self, path, x):
        """What the source has before its classifier; the mean over positions if there are any left."""
        x = self._replayed(self.division.head, path, x) if self.division.head else x
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x) if len(x.shape) == 4 else x

    def _replayed(self, segment, path, x):
        """What a segment of the source gives for another tensor, with the layers of a `Path`."""
        tensors = {id(segment.start): x}
        for node in segment.nodes:
            arguments, keywords = node.arguments.fill_in(tensors)
            layer = layer_on_path(node.operation, path, node.operation.name in self.division.scaled_convolutions)
            outputs = layer(*arguments, **keywords)
            tensors.update(zip(map(id, node.output_tensors), keras.tree.flatten(outputs)))
        return tensors[id(segment.end)]

    def get_config(self):
        """The source's architecture."""
        return {"source": keras.saving.serialize_keras_object(self.source)}

    @classmethod
    def from_config(cls, config):
        """Makes the backbone that `get_config` describes."""
        return cls(keras.saving.deserialize_keras_object(config["source"]))


def with_image_shape(source, shape=None):
    """A network for images of one shape: the source itself if it takes no others."""
    check_source(source, shape)
    if None not in source.input_shape[1:]:
        return source
    image = keras.Input(shape)
    return keras.Model(image, source(image), name=source.name)


def take_weights(model, division, channels):
    """Gives a `DDNN` the weights of its source, of which it has the `Division`; `channels` are `"rgb"` or `"bgr"`."""
    ours = layers_by_name(model)
    # The full-net may have fewer blocks than the source.
    nodes = [node for segment in division.segments for node in segment.nodes if node.operation.name in ours]
    for node in nodes:
        for layer in ours[node.operation.name]:
            copy_layer_weights(node.operation, layer)
    for name, convolution in division.scaled_convolutions.items():
        if name in ours:
            make_scales_positive(*ours[convolution.name], ours[name])
    if channels == "bgr":
        (first,) = ours[next(node.operation.name for node in nodes if hasattr(node.operation, "kernel"))]
        reverse_colours(first)
    if division.classifier:
        kernel, *bias = division.classifier.get_weights()
        start_classifiers(model, kernel.reshape(kernel.shape[-2:]), *(bias or [np.zeros(kernel.shape[-1:])]))


def layers_by_name(model):
    """A network's layers by their names without the path: a dict to lists, of one layer for each path."""
    found = {}
    for layer in model.layers:
        found.setdefault(without_path(layer.name, model.output_keys), []).append(layer)
    return found


def start_classifiers(model, kernel, bias):
    """Gives every depth's classifier these weights, if they are for as many classes."""
    for key in model.output_keys:
        if model.get_layer(key).kernel.shape == kernel.shape:
            model.get_layer(key).set_weights([kernel, bias])


def make_scales_positive(convolution, normalizations):
    """Turns the sign of channels that are scaled by negative numbers, in the convolution too: the same function.

    In training our scales are never negative; without this, the first step would set them to 0.
    """
    gamma = normalizations[0].get_weights()[0]
    signs = np.where(gamma < 0, -1, 1).astype(gamma.dtype)
    for normalization in normalizations:
        gamma, *beta, mean, variance = normalization.get_weights()
        normalization.set_weights([gamma * signs, *beta, mean * signs, variance])
    kernel, *bias = convolution.get_weights()
    # A depthwise kernel has its output channels on the last two axes.
    depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    signs_of_kernel = signs.reshape(kernel.shape[-2:]) if depthwise else signs
    convolution.set_weights([kernel * signs_of_kernel, *(values * signs for values in bias)])


def reverse_colours(convolution):
    """Lets the first convolution take the channels of an image in the other order."""
    kernel, *bias = convolution.get_weights()
    convolution.set_weights([kernel[:, :, ::-1], *bias])


def layer_on_path(layer, path, scales_convolution):
    """The counterpart of a source's layer: shared, private to the path, or without weights."""
    # Augmentation, which Keras applies where a call does not say `training`; and what a nested model begins with.
    if type(layer).__name__.startswith(("Rand", "ConvertToTensor")):
        return lambda x, *_, **__: x
    if not isinstance(layer, keras.Layer):
        return layer
    if isinstance(layer, keras.layers.Lambda):
        raise ValueError(f"`source` must not have Lambda layers, which no file keeps. Received: {layer.name}")
    # A layer that was frozen in the source could not follow its depth.
    of_source = ("name", "dtype", "trainable")
    settings = {name: value for name, value in layer.get_config().items() if name not in of_source}
    if not layer.weights:
        # Named after the source's: Keras' own names might be those of the source's operations.
        return type(layer).from_config({**settings, "name": f"{layer.name}_{path.name}", "dtype": path.dtype})
    if not isinstance(layer, NORMALIZATIONS):
        return path.shared(type(layer), layer.name, **settings)
    # The original's, of long trainings, is too slow for the few steps of a fine-tuning.
    if isinstance(layer, keras.layers.BatchNormalization):
        settings["momentum"] = min(settings["momentum"], STATISTICS_MOMENTUM)
    if scales_convolution:
        # Then files store a convolution once for all depths, see `ddnn_keras.tflite.weight_sharing`.
        settings["gamma_constraint"] = keras.constraints.NonNeg()
    return path.private(type(layer), layer.name, **settings)
