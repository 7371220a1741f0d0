"""Where a functional network can be divided: into stages of residual blocks, and what is before and behind them.

A *cut* is a tensor through which every path from the image to the output passes. Between two cuts lies a segment. A
segment that ends by adding something to its own input is a residual block: without it, a network is left that works.
"""

import collections
import dataclasses
import functools
import itertools
import math

import keras
import numpy as np
from keras import ops

from ddnn_keras.network.cost import macs_of_call
from ddnn_keras.network.graph import node_of, nodes_before, without_nesting

CLASSIFYING = (keras.activations.linear, keras.activations.softmax, keras.activations.sigmoid)
BEHIND_CLASSIFIER = (keras.layers.Activation, keras.layers.Softmax, keras.layers.Flatten, keras.layers.Reshape)


@dataclasses.dataclass(frozen=True)
class Segment:
    """The calls between two cuts."""

    nodes: list  # Keras' nodes, in topological order
    start: keras.KerasTensor  # what enters

    @property
    def end(self):
        """The tensor that leaves."""
        return self.nodes[-1].output_tensors[0]


@dataclasses.dataclass(frozen=True)
class Division:
    """A network in parts.

    A stage is a list of blocks, each a `Segment`. The first block leads to the stage's resolution and cannot be left
    out. Each of the others adds to its input.
    """

    stages: list
    head: Segment | None  # behind the last stage, without the classifier
    classifier: keras.layers.Dense | None
    other_blocks: int  # how many there are besides, which cannot be left out either

    @property
    def segments(self):
        """All parts but the classifier, in their order."""
        return [*itertools.chain(*self.stages), *([self.head] if self.head else [])]

    @functools.cached_property
    def scaled_convolutions(self):
        """The layers with kernels that nothing but a batch normalisation reads, by that normalisation's name."""
        nodes = [node for segment in self.segments for node in segment.nodes]
        readings = collections.Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
        found = {}
        for node in nodes:
            entering = node.input_tensors[0]
            before = node_of(entering).operation
            scales = isinstance(node.operation, keras.layers.BatchNormalization) and node.operation.scale
            linear = hasattr(before, "kernel") and before.activation is keras.activations.linear
            if scales and linear and readings[id(entering)] == 1:
                found[node.operation.name] = before
        return found

    @property
    def blocks(self):
        """The blocks per stage of the whole network."""
        return tuple(map(len, self.stages))


def divide(source):
    """The `Division` of a functional `keras.Model` from one image to one output that has blocks to leave out."""
    nodes, classifier = without_classifier(nodes_before(without_nesting(source).outputs))
    names = collections.Counter(node.operation.name for node in nodes if getattr(node.operation, "weights", ()))
    if repeated := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"`source` must call each layer once, and name each another. {repeated[0]} is there again.")
    stages, waiting = [], []
    for segment in with_activations(segments(nodes)):
        if not is_residual(segment):
            waiting.append(segment)
        elif stages and not waiting:
            stages[-1].append(segment)
        elif waiting and is_block(merged(waiting)):
            stages.append([merged(waiting), segment])
            waiting = []
        else:
            # What is before the block only changes the resolution, as in a ConvNeXt.
            stages.append([merged([*waiting, segment])])
            waiting = []
    if not stages:
        raise ValueError(
            f"`source` must have blocks that add to their input, which depths can leave out: {source.name!r} has none. "
            "`DDNN(backbone=...)` has families of VGG and DenseNet, for which `load_pretrained` takes weights over."
        )
    head = merged(waiting) if waiting else None
    others = sum(map(blocks_within, [*(stage[0] for stage in stages), *([head] if head else [])]))
    return Division(stages, head, classifier, others)


def spread_depths(division, count):
    """Blocks per stage of `count` nested depths, from one block in each stage to all of them: a list of tuples.

    They are spread evenly over multiply-accumulates as far as blocks allow. A stage gives up blocks in proportion to
    those that it has.
    """
    blocks = [1] * len(division.stages)
    chain, costs = [tuple(blocks)], [0]
    while tuple(blocks) != division.blocks:
        left = [stage for stage, all_blocks in enumerate(division.blocks) if blocks[stage] < all_blocks]
        emptiest = min(left, key=lambda stage: blocks[stage] / division.blocks[stage])
        costs.append(costs[-1] + sum(map(macs_of_call, division.stages[emptiest][blocks[emptiest]].nodes)))
        blocks[emptiest] += 1
        chain.append(tuple(blocks))
    if not 1 <= count <= len(chain):
        raise ValueError(f"`depths` must be from 1 to {len(chain)} for this source. Received: depths={count!r}")
    if count == 1:
        return chain[-1:]
    wanted = np.linspace(0, costs[-1], count)
    chosen = [int(np.argmin(np.abs(np.subtract(costs, cost)))) for cost in wanted]
    # Where two wish for the same one, the next deeper one, as far as there is one for all.
    for index in range(1, count):
        chosen[index] = max(chosen[index], chosen[index - 1] + 1)
    for index in reversed(range(count)):
        chosen[index] = min(chosen[index], len(chain) - count + index)
    return [chain[index] for index in chosen]


def without_classifier(nodes):
    """The calls before the classifier, and its layer: a dense layer at the end, or a 1x1 convolution of one position.

    A softmax and a change of shape may follow it. Without a classifier, all calls and `None`.
    """
    for index in reversed(range(len(nodes))):
        layer = nodes[index].operation
        if hasattr(layer, "kernel"):
            positions = nodes[index].output_tensors[0].shape[1:-1]
            if set(positions) <= {1} and layer.activation in CLASSIFYING:
                return nodes[:index], layer
            break
        if not isinstance(layer, BEHIND_CLASSIFIER):
            break
    return nodes, None


def segments(nodes):
    """The calls between cuts: a list of `Segment`."""
    last_use = {id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors}
    cuts, alive = [], set()
    for index, node in enumerate(nodes):
        alive = {tensor for tensor in alive if last_use[tensor] > index}
        alive |= {id(tensor) for tensor in node.output_tensors if last_use.get(id(tensor), math.inf) > index}
        if alive == {id(node.output_tensors[0])} or index == len(nodes) - 1:
            cuts.append(index)
    return [
        Segment(nodes[before + 1 : cut + 1], nodes[before].output_tensors[0])
        for before, cut in itertools.pairwise(cuts)
    ]


def with_activations(found):
    """The segments, with an activation behind a residual block as part of the block, if it can be left out with it.

    That is so if the block's input has had such an activation too, or the block before in the stage.
    """
    joined = []
    for segment, following in itertools.zip_longest(found, found[1:]):
        last = joined[-1] if joined else None
        first, *others = (node.operation for node in segment.nodes)
        is_activation = not others and not getattr(first, "weights", ())
        if last and is_activation and is_residual(last) and len(last.nodes[-1].input_tensors) > 1:
            before = [node_of(last.start).operation, *(other.nodes[-1].operation for other in joined[-2:-1])]
            same = any(type(operation) is type(first) for operation in before)
            if same or (following and is_residual(following)):
                joined[-1] = merged([last, segment])
                continue
        joined.append(segment)
    return joined


def is_residual(segment):
    """Whether a segment ends by adding something to its own input, perhaps with an activation behind that."""
    return segment.start.shape == segment.end.shape and any(adds_to(node, segment.start) for node in segment.nodes[-2:])


def adds_to(node, tensor):
    """Whether a call gives `tensor` where everything else that it takes is 0. A multiplication gives 0 instead."""
    if len(node.input_tensors) != 2 or not any(entering is tensor for entering in node.input_tensors):
        return False
    values = {}
    for entering in node.input_tensors:
        shape = [2 if size is None else size for size in entering.shape]
        values[id(entering)] = ops.full(shape, float(entering is tensor), "float32")
    arguments, keywords = node.arguments.fill_in(values)
    result = ops.convert_to_numpy(node.operation(*arguments, **keywords))
    return result.shape == tuple(values[id(tensor)].shape) and bool(np.all(result == 1))


def merged(found):
    """Segments in a row as one."""
    return Segment([node for segment in found for node in segment.nodes], found[0].start)


def is_block(segment):
    """Whether a segment ends with an addition, perhaps with an activation behind it, or with a linear bottleneck."""
    linear = isinstance(segment.nodes[-1].operation, keras.layers.BatchNormalization)
    return linear or any(map(is_addition, segment.nodes[-2:]))


def blocks_within(segment):
    """How many blocks end within a segment: with an addition, or with a normalisation that a convolution reads."""
    count = 0
    for index, node in enumerate(segment.nodes):
        convolutions = [later for later in segment.nodes[index + 1 :] if hasattr(later.operation, "kernel")]
        is_read = any(later.input_tensors[0] is node.output_tensors[0] for later in convolutions)
        is_bottleneck = is_read and isinstance(node.operation, keras.layers.BatchNormalization)
        count += bool(convolutions) and (is_bottleneck or is_addition(node))
    return count


def is_addition(node):
    """Whether a call adds tensors."""
    return len(node.input_tensors) == 2 and adds_to(node, node.input_tensors[0])
