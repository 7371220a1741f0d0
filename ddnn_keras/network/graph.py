"""Walks over the layers of a functional Keras model. Keras' private record of a graph is used here alone."""

import collections

import keras


def nodes_before(outputs):
    """The calls of layers that lead to a list of symbolic tensors, each after those that give its inputs.

    They are Keras' nodes, which have `operation`, `input_tensors` and `output_tensors`.
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


def readers(outputs):
    """Which layers read the output of which others, on the way to symbolic tensors: a dict from names to lists."""
    found = {}
    for node in nodes_before(outputs):
        for tensor in node.input_tensors:
            found.setdefault(node_of(tensor).operation.name, []).append(node.operation)
    return found


def copy_layer_weights(source, layer):
    """Gives a layer the weights of its counterpart in another model."""
    layer.set_weights(source.get_weights())
    # `Normalization` computes with what it makes of its weights.
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def has_kernel(layer):
    """Whether a layer, perhaps by one within it, multiplies by weights."""
    return any("kernel" in weight.name for weight in getattr(layer, "weights", ()))


def without_nesting(model):
    """A functional model of the same layers, with the layers within others in place of these.

    Others are models, and layers made of layers, such as KerasHub's convolution with its normalisation.
    """
    calls = collections.Counter()

    def call(layer, *args, **kwargs):
        if is_nested(layer):
            check_own_weights(layer)
            return layer.call(*args, **kwargs)
        calls[layer.name] += 1
        if calls[layer.name] > 1 and not getattr(layer, "weights", ()):
            # One activation for many layers: each call becomes a layer with a name of its own.
            settings = {**layer.get_config(), "name": f"{layer.name}_call_{calls[layer.name]}"}
            layer = type(layer).from_config(settings)
        return layer(*args, **kwargs)

    flat = keras.models.clone_model(
        # Of a plain functional model, because a subclass could not be made of inputs and outputs.
        keras.Model(model.inputs, model.outputs),
        clone_function=lambda layer: layer,
        call_function=call,
    )
    names = [node.operation.name for node in nodes_before(flat.outputs) if not getattr(node.operation, "weights", ())]
    # Within a layer that was nested, there may be others, or one activation for many.
    return without_nesting(flat) if len(set(names)) < len(names) or any(map(is_nested, flat.layers)) else flat


def check_own_weights(layer):
    """Raises a `ValueError` if a layer of layers has weights besides: its graph has the layers alone."""
    within = {id(weight) for inner in layer._flatten_layers(include_self=False) for weight in inner.weights}
    if own := [weight.name for weight in layer.weights if id(weight) not in within]:
        raise ValueError(
            "`source` must not have a layer with weights of its own beside those of its inner layers. "
            f"Received: {layer.name}, a {type(layer).__name__} with {', '.join(own)}"
        )


def is_nested(layer):
    """Whether a layer is a model, or one that is not Keras' own and has layers with weights within, but no kernel."""
    own = type(layer).__module__.startswith("keras.") or not isinstance(layer, keras.Layer)
    return isinstance(layer, keras.Model) or (
        not own
        and not hasattr(layer, "kernel")
        and any(inner.weights for inner in layer._flatten_layers(include_self=False))
    )


def check_source(source, shape=None):
    """Raises a `ValueError` unless `source` is a graph from one input, images of this shape, to one output."""
    ends = [getattr(source, name, None) for name in ("inputs", "outputs")]
    if not isinstance(source, keras.Model) or not all(ends):
        raise ValueError(f"`source` must be a functional `keras.Model`. Received: source={source!r}")
    if any(len(tensors) != 1 for tensors in ends):
        inputs, outputs = map(len, ends)
        raise ValueError(
            f"`source` must have one input and one output. Received: {source.name!r} with {inputs} and {outputs}"
        )
    theirs = source.inputs[0].shape[1:]
    if shape is None and len(theirs) == 3 and None in theirs:
        raise ValueError(f"`input_shape` must be given for a source that takes images of the shape {theirs}.")
    shape = tuple(theirs if shape is None else shape)
    wellformed = len(shape) == 3 and None not in shape
    if not wellformed or any(their not in (None, our) for their, our in zip(theirs, shape, strict=True)):
        raise ValueError(f"`source` must take images of the shape {shape}. Received: one that takes {theirs}")
