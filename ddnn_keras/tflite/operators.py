"""What a `.tflite` file asks of the device that runs it: its operators and its number types."""

from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.tflite.flatbuffer import parse

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
