"""Makes before a step is traced what Keras would make within: TensorFlow traces a step that makes variables twice.

For a network of several depths that takes a while, before `fit` begins.
"""

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
