"""A `.tflite` file as a tree of objects and back; the operators and number types in it."""

import pathlib
import struct

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.runtime.digest import is_damaged

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # bytes: `force_align` of a buffer's data in TFLite's schema
ABSENT = -1  # the index of an optional input, such as a bias, that an operator does not have
TYPE_NAMES, OPERATOR_NAMES = (
    {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
    for enumeration in (schema.TensorType, schema.BuiltinOperator)
)


def content_of(model):
    """The bytes of a model, a path or the bytes themselves. Refuses a damaged file, and what is no TFLite file."""
    if not isinstance(model, bytes) and not pathlib.Path(model).is_file():
        raise FileNotFoundError(f"`model` must be an existing file. Received: {str(model)!r}")
    content = model if isinstance(model, bytes) else pathlib.Path(model).read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"`model` must be a TFLite file. Received: {description(model)}, which is none")
    if is_damaged(content):
        raise ValueError(
            f"`model` must be a whole TFLite file. Received: {description(model)}, which is damaged: "
            "its digest is not that of its content"
        )
    return content


def description(model):
    """How an error names a model."""
    return f"{len(model)} bytes" if isinstance(model, bytes) else repr(str(model))


def parse(model):
    """A model, a path or bytes, as the object tree of TFLite's schema. Its buffers are views of the bytes."""
    content = content_of(model)
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"`model` must be a whole TFLite file. Received: {description(model)}, broken") from error


def serialize(tree):
    """The bytes of a `.tflite` file from an object tree. Buffers are aligned, and equal vectors are stored once."""
    tree.buffers = [AlignedBuffer(buffer.data, buffer.offset, buffer.size) for buffer in tree.buffers]
    builder = SharingBuilder()
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class SharingBuilder(flatbuffers.Builder):
    """Stores equal vectors once, such as the zero points of all int8 weights with the same number of channels."""

    def __init__(self):
        super().__init__()
        self._places = {}

    def CreateNumpyVector(self, x):  # noqa: N802
        """Writes an array, unless an equal one has been written. Returns its place."""
        if x.dtype == np.uint8:  # the data of an `AlignedBuffer`, which has a place of its own
            return super().CreateNumpyVector(x)
        key = x.dtype, x.tobytes()
        if key not in self._places:
            self._places[key] = super().CreateNumpyVector(x)
        return self._places[key]


class AlignedBuffer(schema.BufferT):
    """A buffer with data that start at a multiple of 16 bytes.

    The schema asks for that, but Python's generated code aligns to 4 bytes. Kernels that load whole vectors are then
    slower, or crash.
    """

    def Pack(self, builder):  # noqa: N802
        """Writes the buffer. Called by the tree's `Pack`."""
        if self.data is not None:
            builder.Prep(ALIGNMENT, len(self.data))
        return super().Pack(builder)


def operators(model):
    """The sorted names of a model's operators. Custom ones, also Flex operators, look like `CUSTOM: FlexErf`."""
    return sorted({_operator_name(code) for code in parse(model).operatorCodes})


def operator_names(tree, graph):
    """The names of a parsed graph's operators in their order, as in `operators`."""
    return [_operator_name(tree.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]


def tensor_types(model):
    """Two sorted lists of type names: of a model's inputs and outputs, and of its weights and activations."""
    outer, inner = set(), set()
    for graph in parse(model).subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        used = set().union(*([*operator.inputs, *operator.outputs] for operator in graph.operators)) - {ABSENT}
        outer |= {graph.tensors[index].type for index in ends}
        inner |= {graph.tensors[index].type for index in used - ends}
    return tuple(sorted(TYPE_NAMES[number] for number in types) for types in (outer, inner))


def _operator_name(code):
    # The deprecated field ends at 127. The larger of both is the operator.
    name = OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"{name}: {code.customCode.decode()}" if name == "CUSTOM" else name
