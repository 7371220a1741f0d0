"""Makes weights equal across depths, int8 ones too, and stores each only once in a bundle.

Depths share convolutions but not normalisation. The converter folds normalisation into the convolution before it: it
multiplies each output channel by gamma / sigma, one positive number for each depth and channel. Gammas are never
negative in the families (`backbones/layers.py`), `network/divided_backbone.py` turns those of other networks, and
`bundle.py` replaces those near 0. So the folded weights of two depths are equal up to a factor for each channel:

| weights | place of the factor |
|---|---|
| int8 | The scale that each channel has anyway. The integers differ by one step at most, from rounding. |
| float | A multiplication after the convolution and before its activation. The bias is divided by the factor. |

The numbers of the full-net are stored. It is the signature with most operators, and stays as it was converted. After
quantization-aware training, depths have equal integers from the start (`quantization_aware.py`).
"""

import dataclasses

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.runtime.tflite_file import ABSENT, parse, serialize

# The axis of the output channels in each operator's weights.
CHANNEL_AXES = {
    schema.BuiltinOperator.CONV_2D: 0,
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    schema.BuiltinOperator.FULLY_CONNECTED: 0,
}
DTYPES = {
    schema.TensorType.FLOAT32: np.dtype("float32"),
    schema.TensorType.FLOAT16: np.dtype("float16"),
    schema.TensorType.INT8: np.dtype("int8"),
}
EMPTY_BUFFER = 0  # by the schema
ROUNDING = 4  # allowed difference of float weights, in units in the last place of a channel's largest weight


def share_weights(content):
    """The bytes of a file with several signatures in which common weights are stored once.

    It computes the same as the file `content` up to rounding. A weight of an integer file may move by one step. A float
    file multiplies after the convolution instead of before.
    """
    tree = parse(content)
    stored = []
    for subgraph in sorted(tree.subgraphs, key=lambda subgraph: len(subgraph.operators), reverse=True):
        graph = Graph(tree, subgraph)
        for weighted in graph.weighted_operators():
            original, ratios = first_match(weighted, stored)
            if original is None:
                stored.append(weighted)
                continue
            weighted.tensor.buffer = original.tensor.buffer
            if np.any(ratios != 1):
                graph.multiply_after(weighted.operator, ratios)
        graph.drop_unused()
    drop_unused_buffers(tree)
    return serialize(tree)


@dataclasses.dataclass
class Weighted:
    """An operator, the `TensorT` of its weights, and their numbers, shape `(output channels, weights of each)`."""

    operator: schema.OperatorT
    tensor: schema.TensorT
    values: np.ndarray
    num_inputs: int  # the input channels that an output channel reads


class Graph:
    """The graph of one signature, to be edited."""

    def __init__(self, tree, subgraph):
        self.tree, self.subgraph = tree, subgraph
        self.tensors, self.operators, self.outputs = subgraph.tensors, subgraph.operators, set(subgraph.outputs)

    def weighted_operators(self):
        """The operators that have constant weights: a list of `Weighted`."""
        found = []
        for operator in self.operators:
            axis = CHANNEL_AXES.get(self.code(operator))
            tensor = None if axis is None else self.constant(operator.inputs[1])
            # A product of two activations is a FULLY_CONNECTED too, without constant weights.
            if tensor is not None and self.tree.buffers[tensor.buffer].data is not None and tensor.type in DTYPES:
                values = np.moveaxis(self.values(tensor), axis, 0)
                # Of depthwise weights, each output channel has one input channel.
                num_inputs = tensor.shape[-1] if axis == 0 else 1
                found.append(Weighted(operator, tensor, values.reshape(len(values), -1), num_inputs))
        return found

    def code(self, operator):
        """The number of an operator in `BuiltinOperator`."""
        code = self.tree.operatorCodes[operator.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def constant(self, index):
        """The tensor with the stored numbers of the one at `index`. In float16 it comes before a DEQUANTIZE."""
        for operator in self.operators:
            if operator.outputs[0] == index and self.code(operator) == schema.BuiltinOperator.DEQUANTIZE:
                return self.tensors[operator.inputs[0]]
        return self.tensors[index]

    def values(self, tensor):
        """The numbers of a constant."""
        return np.frombuffer(self.tree.buffers[tensor.buffer].data, DTYPES[tensor.type]).reshape(tensor.shape)

    def multiply_after(self, operator, ratios):
        """Multiplies an operator's output channels before its activation, and divides its bias."""
        (output,), (image, weights, *bias) = operator.outputs, operator.inputs
        name = self.tensors[output].name
        product = self.add_tensor(name + b";unscaled", self.tensors[output].shape)
        if bias and bias[0] != ABSENT:
            bias = [self.add_constant(name + b";bias", self.values(self.constant(bias[0])) / ratios)]
        operator.inputs = [image, weights, *bias]
        code = schema.OperatorCodeT(schema.BuiltinOperator.MUL, builtinCode=schema.BuiltinOperator.MUL)
        multiplication = schema.OperatorT(
            opcodeIndex=index_of(self.tree.operatorCodes, code),
            inputs=[product, self.add_constant(name + b";ratios", ratios)],
            outputs=[output],
            builtinOptionsType=schema.BuiltinOptions.MulOptions,
            builtinOptions=schema.MulOptionsT(operator.builtinOptions.fusedActivationFunction),
        )
        operator.outputs = [product]
        operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.NONE
        self.operators.insert(self.operators.index(operator) + 1, multiplication)

    def add_constant(self, name, values):
        """Adds float32 numbers. Returns the index of their tensor."""
        return self.add_tensor(name, values.shape, np.ascontiguousarray(values, "float32").view("uint8"))

    def add_tensor(self, name, shape, data=None):
        """Adds a float32 tensor. Returns its index."""
        self.tree.buffers.append(schema.BufferT(data=data))
        buffer = len(self.tree.buffers) - 1
        self.tensors.append(schema.TensorT(shape=shape, type=schema.TensorType.FLOAT32, buffer=buffer, name=name))
        return len(self.tensors) - 1

    def drop_unused(self):
        """Drops operators and numbers that nothing reads, such as those of a bias that was replaced."""
        used = self.outputs.union(*(operator.inputs for operator in self.operators))
        self.subgraph.operators = self.operators = [
            operator for operator in self.operators if used.intersection(operator.outputs)
        ]
        used = set().union(*(operator.inputs for operator in self.operators))
        for index, tensor in enumerate(self.tensors):
            if index not in used:
                tensor.buffer = EMPTY_BUFFER


def index_of(codes, code):
    """The index of an operator's code among `codes`. A new code is added."""
    for index, known in enumerate(codes):
        if vars(known) == vars(code):
            return index
    codes.append(code)
    return len(codes) - 1


def first_match(weighted, stored):
    """The first of `stored` with the same weights up to a factor for each channel, and the factors; or `None`s."""
    for original in stored:
        same_kind = original.tensor.type == weighted.tensor.type
        # Both shapes: (1, 3, 3, 8) may be eight channels of depthwise weights, or one filter for eight channels.
        same_shape = original.values.shape == weighted.values.shape
        if same_kind and same_shape and np.array_equal(original.tensor.shape, weighted.tensor.shape):
            ratios = ratios_of_channels(weighted.values, original.values)
            if ratios is not None:
                return original, ratios
    return None, None


def ratios_of_channels(values, originals):
    """The positive factor of each channel from `originals` to `values`, or `None` if there are no such factors.

    Integers have factors of 1, since their scales are stored apart.
    """
    first = slice(1)  # the first channel tells most pairs apart
    if not (proportional(values[first], originals[first]) and proportional(values, originals)):
        return None
    exact = values.dtype.kind == "i" or np.array_equal(values, originals)
    return np.ones(len(values)) if exact else best_ratios(values, originals)


def proportional(values, originals):
    """Whether every channel is a positive multiple of the original, up to rounding: one step of integers."""
    if values.dtype.kind == "i":
        return np.max(np.abs(values.astype("int16") - originals)) <= 1
    ratios = best_ratios(values, originals)
    errors = np.max(np.abs(values - ratios[:, np.newaxis] * originals), axis=1)
    bounds = ROUNDING * np.finfo(values.dtype).eps * np.max(np.abs(values), axis=1)
    return np.all((ratios > 0) & (errors <= bounds))


def best_ratios(values, originals):
    """The factor of each channel from `originals` to `values`, by least squares. It is 1 if both are 0."""
    originals = originals.astype("float64")
    ratios = np.sum(values * originals, axis=1) / np.maximum(np.sum(originals**2, axis=1), np.finfo("float64").tiny)
    return np.where(values.any(axis=1) | originals.any(axis=1), ratios, 1.0)


def drop_unused_buffers(tree):
    """Empties the buffers that nothing refers to."""
    tensors = (tensor for subgraph in tree.subgraphs for tensor in subgraph.tensors)
    used = {tensor.buffer for tensor in tensors} | {entry.buffer for entry in tree.metadata or []}
    for index, buffer in enumerate(tree.buffers):
        if index not in used:
            buffer.data = None
