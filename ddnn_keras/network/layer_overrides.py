"""What a user changed in a network's layers: which are frozen, and settings of normalisation and dropout.

A `DDNN` is rebuilt from its constructor's arguments, so its configuration has to keep these changes beside them.
"""

import keras

# The attributes that a user may set and that no argument of `DDNN` decides.
SETTINGS = {keras.layers.BatchNormalization: ("momentum", "epsilon"), keras.layers.Dropout: ("rate",)}


def frozen_config(model):
    """Which layers of a network are frozen: the arguments of `freeze` as a dict."""
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    return {"trainable": model.trainable, "frozen_layers": frozen}


def freeze(model, trainable, frozen_layers):
    """Freezes the layers called `frozen_layers` of a network that is not compiled yet."""
    model.trainable = trainable
    # In this order, a part of a DenseNet's kernel is trainable if any trainable layer has it.
    for layer in model.layers:
        layer.trainable = False
    for layer in model.layers:
        if layer.name not in frozen_layers:
            layer.trainable = True


def layer_settings(model):
    """The `SETTINGS` of all layers: a dict from a layer's number, as a string, to a dict.

    By number, because a backbone need not name its layers without weights.
    """
    return {
        str(number): {name: getattr(layer, name) for name in setting_names(layer)}
        for number, layer in enumerate(layers_with_settings(model))
    }


def changed_settings(model, before):
    """The `layer_settings` that differ from `before`."""
    return {number: now for number, now in layer_settings(model).items() if now != before[number]}


def change_settings(model, changed):
    """Gives a network with the same layers what `changed_settings` found."""
    layers = layers_with_settings(model)
    for number, settings in changed.items():
        for name, value in settings.items():
            setattr(layers[int(number)], name, value)


def layers_with_settings(model):
    """The layers of `SETTINGS` in the order of the graph."""
    return [layer for layer in model.layers if setting_names(layer)]


def setting_names(layer):
    """The names of a layer's settings."""
    return [name for kind, names in SETTINGS.items() if isinstance(layer, kind) for name in names]
