"""What a user changed in a network's layers after it was made: which are frozen, and all other settings.

A `DDNN` is rebuilt from its constructor's arguments, so its configuration has to keep these changes beside them.
"""

import collections
import itertools

import keras


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
    """The settings of all layers: a dict from a layer's key to a dict."""
    return {key: settings_of(layer) for key, layer in layers_by_key(model).items()}


def changed_settings(model, before):
    """The `layer_settings` that differ from `before`."""
    changes = {}
    for key, now in layer_settings(model).items():
        names = {**before[key], **now}
        changed = {name: now.get(name) for name in names if now.get(name) != before[key].get(name)}
        if "lora_rank" in changed:
            raise ValueError(f"`enable_lora` must not be used: a saved network would lose it. Received: {key}")
        changes |= {key: changed} if changed else {}
    return changes


def change_settings(model, changes):
    """Gives a network with the same layers what `changed_settings` found."""
    layers = layers_by_key(model)
    # Files from before the first release have numbers of these layers.
    kinds = keras.layers.BatchNormalization, keras.layers.Dropout
    numbered = [layer for layer in model.layers if isinstance(layer, kinds)]
    layers.update((str(number), layer) for number, layer in enumerate(numbered))
    for key, changed in changes.items():
        change(layers[key], changed)


def layers_by_key(model):
    """The layers in a dict. A backbone need not name those without weights, so they go by class and number."""
    numbers, found = collections.defaultdict(itertools.count), {}
    for layer in model.layers:
        kind = type(layer).__name__
        key = layer.name if layer.weights else f"{kind} {next(numbers[kind])}"
        # A quantization-aware network wraps layers.
        found[key] = getattr(layer, "layer", layer)
    return found


def settings_of(layer):
    """How a layer computes and trains, serialized. The values of its weights and what is frozen are left out."""
    try:
        config = layer.get_config()
    except NotImplementedError:  # of a layer that a user wrote for a backbone
        config = {}
    names = ("shape", "dtype", "regularizer", "constraint")
    variables = [{name: getattr(variable, name) for name in names} for variable in layer.weights]
    return comparable(keras.saving.serialize_keras_object({**config, "variables": variables}))


def change(layer, changed):
    """Gives a layer other settings."""
    config = {name: value for name, value in changed.items() if name != "variables"}
    # Of a second layer, because Keras makes objects of serialized settings.
    second = type(layer).from_config({**layer.get_config(), **config}) if config else None
    # The dtype policy comes last, because it may quantize the layer.
    for name in sorted(config, key=lambda name: name == "dtype"):
        attribute = "dtype_policy" if name == "dtype" else name
        setattr(layer, attribute, getattr(second, attribute))
    for variable, settings in zip(layer.weights, changed.get("variables", ())):
        for name in ("regularizer", "constraint"):
            setattr(variable, name, keras.saving.deserialize_keras_object(settings[name]))


def comparable(settings):
    """Serialized settings without what is frozen, and without the memory addresses that Keras adds in a file."""
    if isinstance(settings, dict):
        left_out = ("shared_object_id", "trainable")
        return {name: comparable(value) for name, value in settings.items() if name not in left_out}
    return [comparable(value) for value in settings] if isinstance(settings, list | tuple) else settings
