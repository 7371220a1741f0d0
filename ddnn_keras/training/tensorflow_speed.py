"""What makes training on TensorFlow begin and run faster, and changes nothing else.

- Variables are made before a step is traced: TensorFlow traces a step that makes variables twice.
- Batch normalisation is one kernel. Keras 3 writes it out in operations that every backend has. Without XLA each of
  them passes over the activations; together they take a third of a step of a narrow network on a CPU.
- The learning rate's schedule is asked once a step, not once for every variable.
"""

import types

import keras
import numpy as np


def make_state(model):
    """Makes the variables of losses and metrics, where Keras itself would only do so in the trace.

    With JAX, and with TensorFlow under a strategy, Keras makes them before.

    Args:
        model: A compiled `DDNN`.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    logits = {key: tf.zeros((1, output.shape[-1])) for key, output in model.output.items()}
    labels = labels_of_one_sample(model.loss, logits)
    with model.distribute_strategy.scope():
        if tf.distribute.has_strategy() or labels is None:
            return
    # Not by what a step calls: methods that users override may want more of it than its shapes, and a metric that
    # counts over all epochs would count this sample.
    model._compile_loss.build(labels, logits)
    if model._compile_metrics is not None:
        model._compile_metrics.build(labels, logits)


def make_optimizer_state(model):
    """Makes the optimizer's variables, where Keras itself would only do so in the trace.

    Args:
        model: A compiled `DDNN`.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    with model.distribute_strategy.scope():
        if not tf.distribute.has_strategy():
            build_optimizer(model)


def build_optimizer(model):
    """Makes the variables of a compiled model's optimizer, once: Keras' `LossScaleOptimizer` would make them again."""
    if model.optimizer and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def labels_of_one_sample(losses, logits):
    """Labels of the form that cross-entropies want: a dict from output keys; `None` if there is another loss.

    Args:
        losses: A dict from output keys to losses.
        logits: A dict from output keys to tensors of shape `(1, classes)`.
    """
    forms = {
        keras.losses.SparseCategoricalCrossentropy: lambda values: np.zeros(1, "int64"),
        keras.losses.CategoricalCrossentropy: lambda values: np.eye(1, values.shape[-1], dtype="float32"),
    }
    if not isinstance(losses, dict) or any(type(losses.get(key)) not in forms for key in logits):
        return None
    return {key: forms[type(losses[key])](values) for key, values in logits.items()}


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


@keras.saving.register_keras_serializable("ddnn_keras")
class SGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD`, which begins faster where it has both a schedule and weight decay; it does the same.

    Keras' weight decay asks for the learning rate once for every variable, and a schedule computes it anew each time:
    of a `CosineDecay` with a warm-up, that is a large part of what TensorFlow traces before the first step. A traced
    step takes as long as with Keras' own.

    Args:
        *args: As for `keras.optimizers.SGD`.
        **kwargs: Likewise.

    Example:
    >>> schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=100)
    >>> optimizer = SGD(schedule, momentum=0.9, weight_decay=5e-3)
    >>> float(optimizer.learning_rate) == float(schedule(0))
    True
    """

    _of_this_step = None

    def apply(self, grads, trainable_variables=None):
        """One update of the variables, as `keras.optimizers.SGD.apply` does it."""
        self._of_this_step = self.learning_rate
        try:
            return super().apply(grads, trainable_variables)
        finally:
            self._of_this_step = None

    def _learning_rate_now(self):
        return super().learning_rate if self._of_this_step is None else self._of_this_step

    learning_rate = property(_learning_rate_now, keras.optimizers.SGD.learning_rate.fset)
