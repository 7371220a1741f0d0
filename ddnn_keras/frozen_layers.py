"""Which layers of a network are frozen, as its configuration keeps it.

Keras keeps that with each layer of a functional model; a `DDNN` is made anew from its own arguments instead.
"""


def frozen_config(model):
    """The entries of a configuration that say what is frozen.

    Args:
        model: A `keras.Model`.
    """
    frozen = [layer.name for layer in model.layers if layer.weights and not layer.trainable]
    return {"trainable": model.trainable, "frozen_layers": frozen}


def freeze(model, trainable=True, frozen_layers=()):
    """Freezes what `frozen_config` said of a network with the same layers; nothing if it said nothing.

    Args:
        model: A `keras.Model`, not compiled yet.
        trainable: Whether the model as a whole is.
        frozen_layers: Names of the layers that are not.
    """
    # Of all layers too, each of which then has its own.
    model.trainable = trainable
    for layer in model.layers:
        layer.trainable = layer.name not in frozen_layers
