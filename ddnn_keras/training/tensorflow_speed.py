"""Faster training on TensorFlow, with the same results.

- Variables are made before a step is traced, because TensorFlow traces a step that makes variables twice.
- Batch normalisation is one kernel. Keras 3 writes it as many operations, which are slow without XLA.
- A step asks the learning rate's schedule once, and not once for every variable.
"""

import types

import keras
import numpy as np


def make_state(model):
    """Makes the variables of a compiled `DDNN`'s losses and metrics."""
    if not leaves_this_to_us(model):
        return
    logits = {key: keras.ops.zeros((1, output.shape[-1])) for key, output in model.output.items()}
    labels = labels_of_one_sample(model.loss, logits)
    if labels is None:
        return
    # Not by calling a step, because a metric that counts over all epochs would count this sample.
    model._compile_loss.build(labels, logits)
    if model._compile_metrics is not None:
        model._compile_metrics.build(labels, logits)


def make_optimizer_state(model):
    """Makes the variables of a compiled `DDNN`'s optimizer."""
    if leaves_this_to_us(model):
        build_optimizer(model)


def leaves_this_to_us(model):
    """Whether Keras makes no variables before a step: with TensorFlow, unless a strategy is in use."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    with model.distribute_strategy.scope():
        return not tf.distribute.has_strategy()


def build_optimizer(model):
    """Makes the variables of a model's optimizer, unless there are some: `LossScaleOptimizer` would make them twice."""
    if model.optimizer and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def labels_of_one_sample(losses, logits):
    """Labels for `losses`, a dict by output key, in the form that they want; `None` if one is no cross-entropy."""
    forms = {
        keras.losses.SparseCategoricalCrossentropy: lambda values: np.zeros(1, "int64"),
        keras.losses.CategoricalCrossentropy: lambda values: np.eye(1, values.shape[-1], dtype="float32"),
    }
    if not isinstance(losses, dict) or any(type(losses.get(key)) not in forms for key in logits):
        return None
    return {key: forms[type(losses[key])](values) for key, values in logits.items()}


# Of activations. The kernel's scales and statistics are in float32.
DTYPES = ("float32", "bfloat16", "float16")


def fuse_normalization(layers, fuses=True):
    """Gives every `BatchNormalization` of images another `call`, or Keras' own again. Files do not tell of it."""
    for layer in layers:
        # A subclass may normalise in a way of its own.
        if type(layer) is keras.layers.BatchNormalization:
            vars(layer).pop("call", None)
            if fuses and is_fusible(layer):
                layer.call = types.MethodType(fused_call, layer)


def is_fusible(layer):
    """Whether the kernel can compute what a `BatchNormalization` does."""
    channels_last = layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
    plain = layer.scale and layer.center and not layer.renorm and not layer.synchronized
    return channels_last and plain and layer.compute_dtype in DTYPES and layer.variable_dtype == "float32"


def fused_call(layer, inputs, training=None, mask=None):
    """`BatchNormalization.call`, in one kernel if the batch's own statistics normalise it."""
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
    # The kernel divides by n - 1 and Keras by n.
    values = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
    variance *= tf.maximum(values - 1, 1) / values
    for moving, of_batch in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + of_batch * (1 - layer.momentum))
    return normalized


@keras.saving.register_keras_serializable("ddnn_keras")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD`, whose weight decay would ask a schedule for its rate anew for every variable."""

    def apply(self, grads, trainable_variables=None):
        """Updates the variables as `keras.optimizers.SGD` does."""
        schedule = self._learning_rate
        # Replicas take turns within this: another one may have put its rate there.
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            return super().apply(grads, trainable_variables)
        self._learning_rate = self.learning_rate
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._learning_rate = schedule
