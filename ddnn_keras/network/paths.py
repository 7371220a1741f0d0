"""The tree of paths: sub-nets compute a common part once, and part where one of them keeps fewer blocks.

    image -- stem -- stage 1: block 1 - block 2 -+- block 3 -- stage 2 ... (34 and 50 together) ...
                                                 +- stage 2 of depth 18 ...

Every path has the same convolutions. Every path has its own batch normalisation, because activations are distributed
differently once paths have parted.
"""

import itertools
import zlib

# Arguments of these types are compared where a layer is asked for again. Two initializers may say the same.
PLAIN = int | float | str | tuple | list


class Path:
    """Makes the layers with weights along one path, for a backbone.

    Args:
        name: The key of the deepest depth on this path, such as `"depth_50"`.
        blocks: The blocks per stage of that depth. All depths on this path agree with it in the stages so far.
        layers: A dict that all paths of a network share: by name, each layer made so far and the arguments it has.
        dtype: A dtype policy for the layers.
        seed: An integer, on which all initial weights depend.
    """

    def __init__(self, name, blocks, layers, dtype, seed):
        self.name = name
        self.blocks = blocks
        self.dtype = dtype
        self._layers = layers
        self._seed = seed

    def fork(self, name, blocks):
        """A `Path` that parts from this one, with the same shared layers and its own private layers."""
        return Path(name, blocks, self._layers, self.dtype, self._seed)

    def seed(self, name):
        """The seed for the initial weights of the layer called `name`.

        A sub-net trained alone starts from the same weights as within a larger network, which comparisons need. Kernels
        of a DenseNet are an exception, because their shapes depend on the depth.
        """
        return zlib.crc32(f"{self._seed} {name}".encode())

    def shared(self, layer_class, name, **arguments):
        """The layer called `name`, made at the first call and the same object on every path."""
        asked = layer_class.__name__, {key: value for key, value in arguments.items() if isinstance(value, PLAIN)}
        if name not in self._layers:
            self._layers[name] = layer_class(name=name, **{"dtype": self.dtype, **arguments}), asked
        layer, made = self._layers[name]
        if made != asked:
            raise ValueError(
                f"`name` must be that of one layer. Received: name={name!r} of a {asked[0]} with {asked[1]}, "
                f"and before of a {made[0]} with {made[1]}"
            )
        return layer

    def private(self, layer_class, name, **arguments):
        """The layer called `name` that belongs to this path only."""
        return self.shared(layer_class, f"{name}_{self.name}", **arguments)


def grow(backbone, path, x, depths, stage=0):
    """Builds all depths from stage `stage` on. They have its input `x` and the `path` that leads there in common.

    `depths` maps output keys to blocks per stage, shallowest first. The result maps them to pairs: the `Path` on which
    the depth ends, and the list of its stages' outputs.
    """
    if stage == backbone.num_stages:
        # Here only one is left. Behind the last stage it needs normalisation of its own too.
        return {key: (path.fork(key, blocks), []) for key, blocks in depths.items()}
    *_, full_net = depths
    path = path.fork(full_net, depths[full_net])
    outputs = []
    for index in range(path.blocks[stage]):
        x = backbone.block(path, x, stage, index)
        outputs.append(x)
    grown = {}
    for num_blocks, group in itertools.groupby(depths, key=lambda key: depths[key][stage]):
        feature = outputs[num_blocks - 1]
        branch = grow(backbone, path, feature, {key: depths[key] for key in group}, stage + 1)
        grown |= {key: (end, [feature, *later]) for key, (end, later) in branch.items()}
    return grown
