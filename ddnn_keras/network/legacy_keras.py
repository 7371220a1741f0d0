"""Takes a sub-net to tf_keras, the Keras 2 that TensorFlow Model Optimization needs, and back."""

import inspect

import keras
import numpy as np
import tf_keras

from ddnn_keras.network.graph import copy_layer_weights, nodes_before

# Arguments of these types decide what a layer computes. Initializers, constraints and policies are other objects.
PLAIN = int | float | str | list | tuple | None


def to_tf_keras(subnet):
    """Rebuilds a sub-net, such as `DDNN.subnet(18)`, as a `tf_keras.Model` with the same weights."""
    tensors = {}
    for node in nodes_before(subnet.outputs):
        (output,) = node.output_tensors
        if node.is_input:
            tensors[id(output)] = tf_keras.Input(output.shape[1:], name=node.operation.name)
        else:
            inputs = [tensors[id(tensor)] for tensor in node.input_tensors]
            tensors[id(output)] = counterpart(node.operation)(inputs if len(inputs) > 1 else inputs[0])
    (image,), (logits,) = subnet.inputs, subnet.outputs
    model = tf_keras.Model(tensors[id(image)], tensors[id(logits)], name=subnet.name)
    for layer in subnet.layers:
        if layer.weights:
            copy_layer_weights(layer, model.get_layer(layer.name))
    check_same_outputs(subnet, model)
    return model


def check_same_outputs(subnet, model):
    """Raises a `ValueError` if layers of one name compute something else in tf_keras, as LeakyReLU does."""
    images = np.random.default_rng(0).integers(0, 256, (2, *subnet.input_shape[1:])).astype("float32")
    found, expected = (keras.ops.convert_to_numpy(each(images, training=False)) for each in (model, subnet))
    precise = all(layer.compute_dtype == "float32" for layer in subnet.layers)
    # Not with >, which is false for NaN.
    if not np.abs(found - expected).max() <= (1e-3 if precise else 0.1) * max(1, np.abs(expected).max()):
        raise ValueError(f"`subnet` must be made of layers that compute the same in tf_keras. Received: {subnet.name}")


def counterpart(layer):
    """The tf_keras layer with the same function, without the weights."""
    name = type(layer).__name__
    if not isinstance(layer, keras.Layer) or not hasattr(tf_keras.layers, name):
        raise ValueError(f"`subnet` must be made of layers that tf_keras has. Received: {layer.name}, a {name}")
    layer_class = getattr(tf_keras.layers, name)
    known = inspect.signature(layer_class.__init__).parameters
    config = layer.get_config()
    return layer_class(
        **{key: value for key, value in config.items() if key in known and isinstance(value, PLAIN)}, name=layer.name
    )


def take_weights(subnet, model):
    """Gives a sub-net the weights of `model`, its trained tf_keras counterpart without wrappers."""
    for layer in subnet.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
