"""What a user changed in a network's layers after it was made, as its configuration keeps it.

Keras keeps that with each layer of a functional model; a `DDNN` is made anew from its own arguments instead.
"""

import keras

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
