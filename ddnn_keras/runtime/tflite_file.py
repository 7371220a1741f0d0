"""A `.tflite` file as a tree of objects and back, and what it asks of a device: its operators and number types."""

import os
import pathlib
import struct

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
ALIGNMENT = 16  # of weights, in bytes: `force_align` of a buffer's data in TFLite's schema


def content_of(model):
    """The bytes of a model.

    Args:
        model: A path, or the bytes themselves.

    Returns:
        `bytes`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a TFLite file.
    """
    content = model if isinstance(model, bytes) else existing_file(model).read_bytes()
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"`model` must be a TFLite file. Received: {description(model)}, which is none")
    return content


def existing_file(path):
    """`path` as a `pathlib.Path`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If `path` is no path at all.
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"`model` must be a path or bytes. Received: {path!r}")
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"`model` must be an existing file. Received: {str(path)!r}")
    return pathlib.Path(path)


def description(model):
    """How an error names a model."""
    return f"{len(model)} bytes" if isinstance(model, bytes) else repr(str(model))


def parse(model):
    """Reads a model into the object tree of TFLite's schema.

    Args:
        model: A path, or the bytes themselves.

    Returns:
        A `ModelT`; its buffers are views of the bytes, not copies.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a whole TFLite file.
    """
    content = content_of(model)
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"`model` must be a whole TFLite file. Received: {description(model)}, broken") from error


def serialize(tree):
    """Writes an object tree as the bytes of a `.tflite` file.

    Args:
        tree: A `ModelT`.

    Returns:
        `bytes`, with every buffer aligned as the schema demands.
    """
    tree.buffers = [AlignedBuffer(buffer.data, buffer.offset, buffer.size) for buffer in tree.buffers]
    builder = flatbuffers.Builder()
    builder.Finish(tree.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class AlignedBuffer(schema.BufferT):
    """A buffer whose data starts at a multiple of 16 bytes.

    Python's generated code knows nothing of `force_align` and aligns to 4: enough for most processors, slower or fatal
    where kernels load whole vectors.
    """

    def Pack(self, builder):  # noqa: N802
        """Writes the buffer. Called by the tree's `Pack`."""
        if self.data is not None:
            builder.Prep(ALIGNMENT, len(self.data))
        return super().Pack(builder)


ABSENT = -1  # stands for an optional input, such as a bias, that an operator does not have


def operators(model):
    """The names of the operators in a file.

    Args:
        model: A path, or the bytes themselves.

    Returns:
        A sorted list of the schema's names, such as `["CONV_2D", "FULLY_CONNECTED"]`. Flex operators are custom
        operators of TFLite and appear, like any of those, as `"CUSTOM: FlexErf"`.
    """
    return sorted({_operator_name(code) for code in parse(model).operatorCodes})


def operator_names(tree, graph):
    """The names of a graph's operators in their order, as in `operators`, from what `parse` gave."""
    return [_operator_name(tree.operatorCodes[operator.opcodeIndex]) for operator in graph.operators]


def type_names():
    """The schema's names of number types, by their numbers."""
    return _names(schema.TensorType)


def custom_operators(model):
    """Those of `operators` that need more than TFLite's builtin kernels."""
    return [name for name in operators(model) if name.startswith("CUSTOM")]


def tensor_types(model):
    """The number types in a file.

    Args:
        model: A path, or the bytes themselves.

    Returns:
        Two sorted lists of the schema's names, such as `["INT32", "INT8"]`: those of inputs and outputs, and those of
        all else that operators read or write, weights and activations.
    """
    outer, inner = set(), set()
    for graph in parse(model).subgraphs:
        ends = {*graph.inputs, *graph.outputs}
        used = set().union(*([*operator.inputs, *operator.outputs] for operator in graph.operators)) - {ABSENT}
        outer |= {graph.tensors[index].type for index in ends}
        inner |= {graph.tensors[index].type for index in used - ends}
    names = _names(schema.TensorType)
    return tuple(sorted(names[number] for number in types) for types in (outer, inner))


def _operator_name(code):
    # Old readers look at the deprecated field, which ends at 127; the larger of the two is the operator.
    name = _names(schema.BuiltinOperator)[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"{name}: {code.customCode.decode()}" if name == "CUSTOM" else name


def _names(enumeration):
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
