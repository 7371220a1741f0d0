"""Which layers of a network are frozen, as its configuration keeps it.

Keras keeps that with each layer of a functional model; a `DDNN` is made anew from its own arguments instead.
"""

# The entries of a configuration that say so.
FROZEN = ("trainable", "frozen_layers", "layers_within")


def frozen_config(model):
    """The entries of a configuration that say what is frozen.

    Args:
        model: A `keras.Model`.
    """
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    return dict(zip(FROZEN, (model.trainable, frozen, layers_within(model))))


def freeze(model, trainable=True, frozen_layers=(), layers_within=None):
    """Freezes what `frozen_config` said of a network with the same layers; nothing if it said nothing.

    Args:
        model: A `keras.Model`, not compiled yet.
        trainable: Whether the model as a whole is.
        frozen_layers: Names of the layers that are not.
        layers_within: A dict from places of layers within others to whether they are, where that differs.
    """
    # Of all layers too, each of which then has its own, and of those within it.
    model.trainable = trainable
    for layer in model.layers:
        layer.trainable = layer.name not in frozen_layers
    for place, inner, _ in inner_layers(model):
        if place in (layers_within or {}):
            inner.trainable = layers_within[place]


def layers_within(model):
    """The layers within others that are frozen or not unlike these: a dict from places, such as `"outer/0"`."""
    # An inner layer may be within several, as pieces of a kernel are. What `freeze` sets last is what it would have.
    inherited = {id(inner): outer.trainable for _, inner, outer in inner_layers(model)}
    inner = {id(inner): (place, inner) for place, inner, _ in inner_layers(model) if inner.weights}
    return {place: layer.trainable for key, (place, layer) in inner.items() if layer.trainable != inherited[key]}


def inner_layers(model):
    """Gives the place of each layer within another, itself and the other, level by level, as `freeze` goes.

    A place is a layer's name and, from there on, the layers' numbers: within it, many have a name that Keras gave them,
    which is another one in each process.
    """
    level = [(layer.name, layer) for layer in model.layers]
    while level:
        within = [
            (f"{place}/{number}", inner, layer)
            for place, layer in level
            for number, inner in enumerate(layer._flatten_layers(include_self=False, recursive=False))
        ]
        yield from within
        level = [(place, inner) for place, inner, _ in within]
