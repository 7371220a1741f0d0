"""What a user changed in a network's layers, as its configuration keeps it: frozen layers and settings.

Keras keeps that with each layer of a functional model; a `DDNN` is made anew from its own arguments instead.
"""

import keras

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


# By the kind of layer, the attributes that a user may set and none of a `DDNN`'s arguments decides.
SETTINGS = {keras.layers.BatchNormalization: ("momentum", "epsilon"), keras.layers.Dropout: ("rate",)}


def layer_settings(model):
    """The settings of every layer that has any: a dict from the layer's number, as a string, to a dict.

    By number, since a backbone of one's own need not name layers without weights.

    Args:
        model: A `keras.Model`.
    """
    return {
        str(number): {name: getattr(layer, name) for kind in kinds(layer) for name in SETTINGS[kind]}
        for number, layer in enumerate(layers_with_settings(model))
    }


def changed_settings(model, before):
    """The settings of those that have others than `before`, what `layer_settings` gave then."""
    return {number: now for number, now in layer_settings(model).items() if now != before[number]}


def change_settings(model, changed):
    """Gives a network with the same layers what `changed_settings` found."""
    layers = layers_with_settings(model)
    # Files of an earlier time call layers by their names.
    known = {str(number): layer for number, layer in enumerate(layers)} | {layer.name: layer for layer in layers}
    for key, settings in changed.items():
        for name, value in settings.items():
            setattr(known[key], name, value)


def layers_with_settings(model):
    """A list of them, in an order that the graph decides."""
    return [layer for layer in model.layers if kinds(layer)]


def kinds(layer):
    """The keys of `SETTINGS` that a layer is one of."""
    return [kind for kind in SETTINGS if isinstance(layer, kind)]
