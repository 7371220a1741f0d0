"""Batch normalisation in one kernel of TensorFlow, in training without XLA.

Keras 3 writes it out in operations that every backend has. Without XLA each of them passes over the activations, and
together they take a third of a step of a narrow network on a CPU.
"""

import types

import keras

# Of activations; the kernel takes scales and keeps statistics in float32.
DTYPES = ("float32", "bfloat16", "float16")


def fuse_normalization(layers):
    """Lets every `BatchNormalization` of images train in one kernel, which computes what Keras' operations do.

    They stay Keras' own layers, with another `call`, so that a file of them can be loaded without this library.

    Args:
        layers: Built Keras layers, of a model that TensorFlow trains without XLA.
    """
    for layer in layers:
        # A subclass may normalise in a way of its own.
        if type(layer) is keras.layers.BatchNormalization and is_fusible(layer):
            layer.call = types.MethodType(fused_call, layer)


def is_fusible(layer):
    """Whether the kernel can do what a `BatchNormalization` is to do."""
    channels_last = layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
    plain = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    return channels_last and plain and layer.compute_dtype in DTYPES and layer.variable_dtype == "float32"


def use_keras_normalization(layers):
    """Takes `fuse_normalization` back.

    Args:
        layers: Keras layers.
    """
    for layer in layers:
        if getattr(layer.__dict__.get("call"), "__func__", None) is fused_call:
            del layer.call


def fused_call(layer, inputs, training=None, mask=None):
    """`BatchNormalization.call`, in one kernel where the batch's own statistics normalise it."""
    if not (training and layer.trainable) or mask is not None:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    import tensorflow as tf

    normalized, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.cast(inputs, layer.compute_dtype),
        scale=layer.gamma,
        offset=layer.beta,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    # The kernel gives the variance of the population that the batch is a sample of, and Keras keeps that of the sample.
    values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
    variance *= tf.maximum(values - 1, 1) / values
    for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + of_batch * (1 - layer.momentum))
    return normalized
