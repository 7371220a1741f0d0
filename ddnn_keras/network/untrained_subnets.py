"""Any combination of blocks within a trained network as a sub-net that nobody trained.

Its convolutions are the network's. What normalises activations, and the classifier, were trained for each depth: in
each stage those of a depth serve that has as many blocks there. Where blocks before differ from that depth's,
activations are distributed in another way than in training, and the statistics must be computed anew ("Universally
Slimmable Networks", https://arxiv.org/abs/1903.05134, calls that post-statistics).
"""

import contextlib
import dataclasses

import keras
from keras import ops

from ddnn_keras.depths import output_key
from ddnn_keras.network.paths import Path
from ddnn_keras.pixels import in_batches


@dataclasses.dataclass(frozen=True)
class Combination:
    """A combination of blocks.

    Args:
        subnet: A functional `keras.Model` from raw pixels to logits.
        fixed: Its layers that normalise what they do in the trained depth, with the same statistics.
        parted: Its layers that normalise other activations than in the trained depth.
        sources: A dict from both, which are copies, to the trained depths' layers.
    """

    subnet: keras.Model
    fixed: list
    parted: list
    sources: dict

    def take_over(self):
        """Takes over what the trained depths' layers have by now."""
        for copy, source in self.sources.items():
            copy.set_weights(source.get_weights())

    def calibrate(self, images):
        """Computes the statistics of the `parted` layers on images, shape `(n, height, width, channels)`."""
        self.take_over()
        with trainable(self.fixed, False):
            compute_statistics(self.subnet, self.parted, images)


def combination(model, backbone, blocks):
    """Grows a combination of blocks from a network's layers.

    Args:
        model: A `DDNN`.
        backbone: Its backbone.
        blocks: Blocks per stage, a tuple. Each at most those of the model's full-net.

    Returns:
        A `Combination` with the statistics of the trained depth that it comes from.
    """
    path = CombinationPath(model, output_key("_".join(map(str, blocks))), blocks)
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
    subnet.input_spec = model.input_spec
    found = Combination(subnet, path.fixed, path.parted, path.copies)
    found.take_over()
    return found


def sources(depths, blocks):
    """Which trained depth's layers serve in each stage, and whether all before it is as in that depth.

    Args:
        depths: A dict from depths to blocks per stage, the shallowest first.
        blocks: Blocks per stage.

    Returns:
        A list of pairs of a depth and a truth value.

    Example:
    >>> sources({18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}, (3, 2, 3, 2))
    [(34, True), (18, False), (34, False), (18, False)]
    """

    # On Fashion-MNIST with 8, 14 and 20, a depth with as many blocks, but others before it, gave up to 12 points more
    # than one that agrees before and has more blocks: above all in the last stage, which chooses the classifier.
    def order(stage, depth):
        trained = depths[depth]
        return trained[stage] != blocks[stage], trained[:stage] != blocks[:stage]

    found = []
    for stage, count in enumerate(blocks):
        enough = [depth for depth, trained in depths.items() if trained[stage] >= count]
        depth = min(enough, key=lambda depth: order(stage, depth))
        found.append((depth, depths[depth][:stage] == blocks[:stage]))
    return found


class CombinationPath(Path):
    """Gives a network's shared layers, and copies of what normalises its trained depths.

    Args:
        model: A `DDNN`.
        name: The name of the combination.
        blocks: Its blocks per stage.
    """

    def __init__(self, model, name, blocks):
        super().__init__(name, blocks, {layer.name: layer for layer in model.layers}, model.dtype_policy, seed=0)
        self._model = model
        self.copies, self.fixed, self.parted = {}, [], []

    def follow(self, depth, agrees):
        """Takes what is private from a trained depth from now on; `agrees` if all before is as in that depth."""
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
        # Others, such as group normalisation, have no statistics.
        if isinstance(copy, keras.layers.BatchNormalization):
            self._normalizations.append(copy)
        return copy


def without_path(name, output_keys):
    """The name of a private layer without that of its path."""
    # The longest: one depth's name may end in another's.
    keys = sorted(output_keys, key=len, reverse=True)
    return next((name.removesuffix(f"_{key}") for key in keys if name.endswith(f"_{key}")), name)


@contextlib.contextmanager
def trainable(layers, value):
    """Lets batch normalisation compute statistics in training, or keep its own and use them."""
    before = [layer.trainable for layer in layers]
    try:
        for layer in layers:
            layer.trainable = value
        yield
    finally:
        for layer, was in zip(layers, before):
            layer.trainable = was


def compute_statistics(subnet, layers, images):
    """Gives batch normalisation the mean over batches of their statistics, as in training with all weights fixed."""
    momenta = [layer.momentum for layer in layers]
    # Dropout draws from generators that training goes on with.
    weights = {id(weight) for weight in subnet.weights}
    states = [variable for variable in subnet.variables if id(variable) not in weights]
    before = [ops.convert_to_numpy(state) for state in states]
    # A frozen layer would keep its statistics.
    with trainable(layers, True):
        try:
            for index, batch in enumerate(in_batches(images)):
                for layer in layers:
                    layer.momentum = index / (index + 1)
                subnet(ops.convert_to_tensor(batch), training=True)
        finally:
            for layer, momentum in zip(layers, momenta):
                layer.momentum = momentum
            for state, was in zip(states, before):
                state.assign(was)
