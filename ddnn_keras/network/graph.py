"""The calls of layers that a functional graph is made of."""

import keras


def nodes_before(outputs):
    """The calls of layers that lead to symbolic tensors, each behind those whose outputs it takes.

    Args:
        outputs: A list of `keras.KerasTensor`.

    Returns:
        A list of Keras' nodes, which have `operation`, `input_tensors` and `output_tensors`.
    """
    ordered, stack = {}, [node_of(output) for output in outputs]
    while stack:
        node = stack[-1]
        missing = [before for tensor in node.input_tensors if id(before := node_of(tensor)) not in ordered]
        if missing and not node.is_input:
            stack += missing
        else:
            ordered[id(stack.pop())] = node
    return list(ordered.values())


def node_of(tensor):
    """The call that gave a symbolic tensor."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def without_nesting(model):
    """The same layers in one graph, where some of them are in a network that is itself a layer.

    Args:
        model: A functional `keras.Model`.

    Returns:
        A functional `keras.Model` with the same layers, but for such networks.
    """

    def call(layer, *args, **kwargs):
        return layer.call(*args, **kwargs) if isinstance(layer, keras.Model) else layer(*args, **kwargs)

    flat = keras.models.clone_model(
        # Of a plain functional model: a subclass could not be made of inputs and outputs.
        keras.Model(model.inputs, model.outputs),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    nested = any(isinstance(layer, keras.Model) for layer in flat.layers)
    return without_nesting(flat) if nested else flat


def readers(outputs):
    """Which layers take the outputs of which others, on the way to symbolic tensors.

    Args:
        outputs: A list of `keras.KerasTensor`.

    Returns:
        A dict from layers' names to lists of layers.
    """
    found = {}
    for node in nodes_before(outputs):
        for tensor in node.input_tensors:
            found.setdefault(tensor._keras_history.operation.name, []).append(node.operation)
    return found


def check_functional(source):
    """Raises a `ValueError` unless `source` is a graph from one input to one output."""
    ends = [getattr(source, name, None) for name in ("inputs", "outputs")]
    if not isinstance(source, keras.Model) or not all(ends):
        raise ValueError(f"`source` must be a functional `keras.Model`. Received: source={source!r}")
    if any(len(tensors) != 1 for tensors in ends):
        inputs, outputs = map(len, ends)
        raise ValueError(
            f"`source` must have one input and one output. Received: {source.name!r} with {inputs} and {outputs}"
        )
