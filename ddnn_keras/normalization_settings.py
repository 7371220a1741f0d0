"""What a user changed in a network's batch normalisation after it was made, as its configuration keeps it.

Keras keeps that with each layer of a functional model; a `DDNN` is made anew from its own arguments instead.
"""

import keras

NAMES = ("momentum", "epsilon")


def normalization_settings(model):
    """Momentum and epsilon of every batch normalisation: a dict from names of layers to dicts.

    Args:
        model: A `keras.Model`.
    """
    layers = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    return {layer.name: {name: getattr(layer, name) for name in NAMES} for layer in layers}


def changed_settings(model, before):
    """The settings of those that have others than `before`, what `normalization_settings` gave then."""
    return {name: now for name, now in normalization_settings(model).items() if now != before[name]}


def change_settings(model, changed):
    """Gives a network with the same layers what `changed_settings` found."""
    for layer_name, settings in changed.items():
        for name, value in settings.items():
            setattr(model.get_layer(layer_name), name, value)
