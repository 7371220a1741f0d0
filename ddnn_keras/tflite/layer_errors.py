"""How far each layer of an integer file is from the float network: which one costs the accuracy."""

import collections
import dataclasses

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.quiet import hushed
from ddnn_keras.runtime.tflite_file import TYPE_NAMES, parse
from ddnn_keras.tflite.layer_names import named_operators

TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class LayerError:
    """What rounding does to the output of one operator."""

    name: str  # see `named_operators`
    snr: float  # signal-to-noise ratio in decibels, see `layer_errors`
    added: float  # the noise-to-signal ratio that comes on top of the noisiest input's
    cut_off: float  # the fraction of the float outputs that lie outside of the integers' range


def layer_errors(content, float_content, subnet, images, signature=None):
    """The `LayerError`s of an integer file's signature beside the same sub-net in float32, in the file's order.

    The noise-to-signal ratio is the power of the difference over that of the float output. It is the mean of all
    channels' ratios, of at most 1 each: the next layer can make much of a small channel. `subnet`, the `keras.Model`,
    has the layers' names.
    """
    file, network = Traced(content, subnet, signature), Traced(float_content, subnet)
    if list(file.operators) != list(network.operators):
        raise ValueError("`content` must hold the operators of `float_content`. Received: other ones")
    signal, noise, outside = (collections.defaultdict(float) for _ in range(3))
    for image in images:
        found, expected = file.outputs(image), network.outputs(image)
        for name, values in expected.items():
            low, high = file.limits(name)
            axes = tuple(range(values.ndim - 1))
            signal[name] += np.sum(values**2, axes)
            noise[name] += np.sum((found[name] - values) ** 2, axes)
            outside[name] += np.mean((values < low) | (values > high)) / len(images)
    # A channel that is always 0 has no noise either.
    ratios = {name: np.mean(noise[name] / np.maximum(np.maximum(signal[name], noise[name]), TINY)) for name in noise}
    return [
        LayerError(
            name,
            snr=float(-10 * np.log10(max(ratios[name], TINY))),
            added=float(max(0, ratios[name] - max((ratios[source] for source in file.sources(name)), default=0))),
            cut_off=float(outside[name]),
        )
        for name in file.operators
    ]


def traced_interpreter(content):
    """An interpreter of a file in which every tensor can be read after a run."""
    with hushed():  # it warns of the memory that this takes
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    return interpreter


class Traced:
    """One signature of a file, in which every operator's output can be read."""

    def __init__(self, content, subnet, signature=None):
        self._interpreter = traced_interpreter(content)
        self._lite, tree = LiteModel(self._interpreter, signature), parse(content)
        names = [definition.signatureKey.decode() for definition in tree.signatureDefs]
        self._index = tree.signatureDefs[names.index(self._lite.signature)].subgraphIndex
        self._graph = tree.subgraphs[self._index]
        self.operators = named_operators(tree, self._graph, subnet)

    def outputs(self, image):
        """Every operator's output for an image, as float64 numbers: a dict from names."""
        self._lite.invoke(self._lite.input.encode(image[np.newaxis]))
        return {name: self._output(operator.outputs[0]) for name, operator in self.operators.items()}

    def _output(self, index):
        scale, zero_point = self._steps(index)
        return scale * (self._interpreter.get_tensor(index, self._index).astype("float64") - zero_point)

    def _steps(self, index):
        found = self._graph.tensors[index].quantization
        quantized = found is not None and found.scale is not None and len(found.scale) == 1
        return (found.scale[0], found.zeroPoint[0]) if quantized else (1.0, 0)

    def limits(self, name):
        """The smallest and the largest output that an operator can have, half a step beyond its integers' ends."""
        index = self.operators[name].outputs[0]
        kind = TYPE_NAMES[self._graph.tensors[index].type].lower()
        if kind.startswith("float"):
            return -np.inf, np.inf
        (scale, zero_point), ends = self._steps(index), np.iinfo(kind)
        return scale * (ends.min - zero_point - 0.5), scale * (ends.max - zero_point + 0.5)

    def sources(self, name):
        """The names of the operators whose outputs an operator reads, through conversions."""
        makers = {operator.outputs[0]: operator for operator in self._graph.operators}
        names = {operator.outputs[0]: name for name, operator in self.operators.items()}
        found, asked = [], list(self.operators[name].inputs)
        while asked:
            index = asked.pop()
            if index in names:
                found.append(names[index])
            elif index in makers:  # a conversion
                asked.extend(makers[index].inputs)
        return found
