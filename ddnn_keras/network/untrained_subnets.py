"""Untrained depths: any number of blocks per stage of a trained network, as a sub-net.

Convolutions are the network's own. Batch normalisation and classifier are those of the trained depth with as many
blocks in that stage. Where earlier stages differ from that depth, activations are distributed differently from
training, so that the statistics must be computed anew ("post-statistics" in "Universally Slimmable Networks",
https://arxiv.org/abs/1903.05134).
"""

import dataclasses

import keras
from keras import ops

from ddnn_keras.depths import output_key
from ddnn_keras.network.paths import Path
from ddnn_keras.pixels import in_batches


@dataclasses.dataclass(frozen=True)
class UntrainedSubnet:
    """A sub-net with copies of its trained depths' normalisation."""

    subnet: keras.Model  # from raw pixels to logits
    fixed: list  # of batch normalisations that keep the statistics of the trained depth
    parted: list  # of batch normalisations that need new statistics
    copies: dict  # from private layers to the trained depths' layers of which they are copies

    def update(self):
        """Takes over what training changed in the trained depths' layers."""
        for copy, source in self.copies.items():
            copy.set_weights(source.get_weights())

    def calibrate(self, images):
        """Gives the `parted` layers the mean of their statistics over batches of images."""
        self.update()
        layers = [*self.fixed, *self.parted]
        before = [(layer.trainable, layer.momentum) for layer in layers]
        # Only a trainable layer computes statistics.
        for layer in layers:
            layer.trainable = layer in self.parted
        for index, batch in enumerate(in_batches(images)):
            for layer in self.parted:
                layer.momentum = index / (index + 1)
            self.subnet(ops.convert_to_tensor(batch), training=True)
        for layer, (trainable, momentum) in zip(layers, before):
            layer.trainable, layer.momentum = trainable, momentum


def untrained_subnet(model, backbone, blocks):
    """Makes the `UntrainedSubnet` of a `DDNN` that has these blocks per stage. It is not calibrated yet."""
    path = UntrainedPath(model, output_key("_".join(map(str, blocks))), blocks)
    image = keras.Input(model.input_shape[1:], name="image")
    for stage, (depth, agrees) in enumerate(sources(model.depths, blocks)):
        path.follow(depth, agrees)
        if stage == 0:
            x = backbone.stem(path, model.get_layer("normalize_pixels")(image))
        for index in range(blocks[stage]):
            x = backbone.block(path, x, stage, index)
    path.follow(depth, agrees=False)
    logits = model.get_layer(output_key(depth))(backbone.head(path, x))
    subnet = keras.Model(image, logits, name=path.name)
    subnet.input_spec, subnet.dtype_policy = model.input_spec, model.dtype_policy
    found = UntrainedSubnet(subnet, path.fixed, path.parted, path.copies)
    found.update()
    return found


def sources(depths, blocks):
    """For each stage, the trained depth that lends its private layers, and whether all earlier stages are as in it."""
    found = []
    for stage, count in enumerate(blocks):
        enough = [depth for depth, trained in depths.items() if trained[stage] >= count]
        # As many blocks in this stage matter more than the same blocks before it, most of all in the last stage.
        depth = min(enough, key=lambda depth: (depths[depth][stage] != count, depths[depth][:stage] != blocks[:stage]))
        found.append((depth, depths[depth][:stage] == blocks[:stage]))
    return found


class UntrainedPath(Path):
    """A path with the shared layers of a `DDNN`, and copies of the private layers of its trained depths."""

    def __init__(self, model, name, blocks):
        super().__init__(name, blocks, {layer.name: layer for layer in model.layers}, model.dtype_policy, seed=0)
        self._model = model
        self.copies, self.fixed, self.parted = {}, [], []

    def follow(self, depth, agrees):
        """Copies private layers of a trained depth from now on; `agrees` if all earlier stages are as in it."""
        layers = self._model.subnet(depth).layers
        self._private = {without_path(layer.name, self._model.output_keys): layer for layer in layers}
        self._normalizations = self.fixed if agrees else self.parted

    def shared(self, layer_class, name, **arguments):
        """The network's layer called `name`."""
        if name not in self._layers:
            raise ValueError(
                "`depth` must be a trained one where kernels depend on it, as in a DenseNet. "
                f"Received: depth={self.blocks}, for which there is no {name}"
            )
        return self._layers[name]

    def private(self, layer_class, name, **arguments):
        """A copy of the trained depth's layer."""
        source = self._private[name]
        copy = type(source).from_config({**source.get_config(), "name": f"{name}_{self.name}"})
        self.copies[copy] = source
        # Other layers, such as group normalisation, have no statistics.
        if isinstance(copy, keras.layers.BatchNormalization):
            self._normalizations.append(copy)
        return copy


def without_path(name, output_keys):
    """The name of a private layer without the output key at its end."""
    # The longest key, because one depth's name may end in another's.
    keys = sorted(output_keys, key=len, reverse=True)
    return next((name.removesuffix(f"_{key}") for key in keys if name.endswith(f"_{key}")), name)
