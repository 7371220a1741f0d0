"""What a `.tflite` file asks of the device that runs it: its operators and its number types."""

from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.tflite.flatbuffer import parse


def operators(model):
    """The names of the operators in a file.

    Args:
        model: A path, or the bytes themselves.

    Returns:
        A sorted list of the schema's names, such as `["CONV_2D", "FULLY_CONNECTED"]`. Flex operators are custom
        operators of TFLite and appear, like any of those, as `"CUSTOM: FlexErf"`.
    """
    return sorted({_operator_name(code) for code in parse(model).operatorCodes})


def custom_operators(model):
    """Those of `operators` that need more than TFLite's builtin kernels."""
    return [name for name in operators(model) if name.startswith("CUSTOM")]


def tensor_types(model):
    """The number types of all tensors in a file, weights and activations: a sorted list such as `["INT32", "INT8"]`."""
    types = {tensor.type for graph in parse(model).subgraphs for tensor in graph.tensors}
    return sorted(_names(schema.TensorType)[number] for number in types)


def _operator_name(code):
    # Old readers look at the deprecated field, which ends at 127; the larger of the two is the operator.
    name = _names(schema.BuiltinOperator)[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"{name}: {code.customCode.decode()}" if name == "CUSTOM" else name


def _names(enumeration):
    return {number: name for name, number in vars(enumeration).items() if isinstance(number, int)}
