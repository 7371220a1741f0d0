"""The pretrained networks that a fine-tuning can start from."""

import keras
import numpy as np

from ddnn_keras.backbones import PUBLISHED
from ddnn_keras.backbones.inverted_residual import EfficientNetLite
from ddnn_keras.model import DDNN
from ddnn_keras.pretrained import load_pretrained


def pretrained_network(arguments, images):
    """A network for these images, with as many depths and with the weights that the arguments ask for."""
    if images.image_shape[-1] != 3:
        raise ValueError(f"--dataset must have images of 3 channels. Received: {images.image_shape[-1]}")
    make = efficientnet_lite if arguments.start in PUBLISHED else divided_network
    return make(arguments, images)


def efficientnet_lite(arguments, images):
    """A network of the family, with weights from ImageNet."""
    if arguments.preprocessing != "auto":
        raise ValueError(f"--preprocessing must be auto for this start. Received: {arguments.preprocessing}")
    full_net, width = PUBLISHED[arguments.start]
    names = [depth for depth in EfficientNetLite.DEPTHS if depth <= full_net]
    if arguments.depths > len(names):
        raise ValueError(f"--depths must be from 1 to {len(names)} for this start. Received: {arguments.depths}")
    spread = np.linspace(len(names) - 1, 0, arguments.depths).round().astype(int)
    model = DDNN(
        depths=[names[index] for index in reversed(spread)],
        backbone="efficientnet_lite",
        num_classes=images.num_classes,
        input_shape=images.image_shape,
        width=width,
        stem="imagenet",
        dtype=arguments.precision,
    )
    load_pretrained(model, arguments.weights or arguments.start)
    return model


def divided_network(arguments, images):
    """A network of somebody else's blocks."""
    kind, _, name = arguments.start.partition(":")
    try:
        source = SOURCES.get(kind, own_file)(name or kind, images.image_shape, not arguments.weights)
        if arguments.weights:
            source.load_weights(arguments.weights)
    # Whoever downloads may fail in many ways.
    except Exception as error:
        reason = (str(error).rpartition("Exception encountered: ")[2].strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"--start {arguments.start} cannot be loaded: {reason} (Without a network, --weights FILE gives weights.)"
        ) from error
    own = source.inputs[0].shape[1:3] if getattr(source, "inputs", None) else (None, None)
    height, width = shown = images.image_shape[:2]
    if None not in own and own != shown:
        raise ValueError(f"--image-size must be that of this start, {own[0]}. Received: images of {height}x{width}")
    return DDNN.from_keras(
        source,
        arguments.depths,
        num_classes=images.num_classes,
        preprocessing=None if arguments.preprocessing == "none" else arguments.preprocessing,
        input_shape=images.image_shape,
        dtype=arguments.precision,
    )


def application(name, shape, published):
    """A network of `keras.applications`, with or without its published weights."""
    make = getattr(keras.applications, name, None)
    if not isinstance(make, type(application)):
        raise ValueError(f"keras.applications has no {name}.")
    return make(weights="imagenet" if published else None, include_top=False, input_shape=shape)


def hub_backbone(name, shape, published):
    """A backbone of KerasHub."""
    import keras_hub

    return keras_hub.models.Backbone.from_preset(name, load_weights=published)


def own_file(path, shape, published):
    """A network in a file."""
    return keras.saving.load_model(path, compile=False)


SOURCES = {"keras": application, "hub": hub_backbone}
