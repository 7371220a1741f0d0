"""TensorFlow Model Optimization on one sub-net: pruning and clustering.

It works on tf_keras, Keras 2, so the sub-net is rebuilt there and its weights are brought back.
"""

import functools

import keras
import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras

# The public `cluster_weights` cannot keep the zeros that pruning made.
from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import cluster_weights

from ddnn_keras.distillation import kl_divergence
from ddnn_keras.network.legacy_keras import take_weights, to_tf_keras


def fine_tuned(subnet, full_net, steps, images, settings):
    """Changes a sub-net's weights by the steps, names in `STEPS`, in which the full-net teaches it.

    `settings` are the flags of finetune_tfmot.py with the run's `batch_size` and `seed`, and `class_weights`, a number
    for each class.
    """
    keras.utils.set_random_seed(settings.seed)
    lessons = taught(images.train(settings.batch_size, seed=settings.seed), full_net, settings.class_weights)
    steps_per_epoch = images.steps_per_epoch(settings.batch_size)
    model = to_tf_keras(subnet)
    for index, step in enumerate(steps):
        num_updates = settings.epochs * steps_per_epoch
        model, strip, callbacks = STEPS[step](model, settings, steps[:index], num_updates)
        fit(model, lessons, settings, steps_per_epoch, callbacks)
        model = strip(model)
    take_weights(subnet, model)


# Each step takes a tf_keras model, the settings, the steps before and the number of updates. It gives the model to
# train, the function that takes its wrappers off afterwards, and the callbacks that the training needs.


def prune(model, settings, before, num_updates):
    """Sets ever more of the smallest weights to zero, during the first half of the updates."""
    keras_tools = tfmot.sparsity.keras
    half = max(1, num_updates // 2)
    schedule = keras_tools.PolynomialDecay(0.0, settings.sparsity, 0, half, frequency=max(1, half // 10))
    wrapper = functools.partial(keras_tools.prune_low_magnitude, pruning_schedule=schedule)
    return wrapped(model, wrapper), keras_tools.strip_pruning, [keras_tools.UpdatePruningStep()]


def cluster(model, settings, before, num_updates):
    """Gives the weights of a layer a few values."""
    keep_zeros = "prune" in before

    def wrapper(layer):
        # The toolkit needs at least as many weights as clusters. Where zeros are kept, they are one cluster.
        num_weights = np.count_nonzero(layer.kernel) + 1 if keep_zeros else np.size(layer.kernel)
        if num_weights < 3:
            raise ValueError(f"--sparsity must leave {layer.name} two weights or more. Received: {settings.sparsity}")
        clusters = min(settings.clusters, int(num_weights))
        return cluster_weights(layer, number_of_clusters=clusters, preserve_sparsity=keep_zeros)

    return wrapped(model, wrapper), tfmot.clustering.keras.strip_clustering, []


STEPS = {"prune": prune, "cluster": cluster}


def wrapped(model, wrapper):
    """The model with its convolutions and dense layers in a wrapper."""
    # Depthwise convolutions hold few weights.
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    return tf_keras.models.clone_model(model, clone_function=lambda one: wrapper(one) if type(one) in kinds else one)


def taught(batches, full_net, class_weights):
    """Batches of images, lessons and weights. A lesson is the label, followed by the full-net's logits."""
    class_weights = tf.constant(class_weights, "float32")

    def lesson(images, labels):
        logits = full_net(images, training=False)
        lessons = tf.concat([tf.cast(labels, logits.dtype)[:, tf.newaxis], logits], axis=-1)
        return images, lessons, tf.gather(class_weights, labels)

    return batches.map(lesson)


def fit(model, lessons, settings, steps_per_epoch, callbacks):
    """Trains a tf_keras model on labels and on the full-net's probabilities."""
    cross_entropy = functools.partial(tf_keras.losses.sparse_categorical_crossentropy, from_logits=True)

    def loss(lesson, logits):
        labels, teacher = lesson[:, 0], lesson[:, 1:]
        return cross_entropy(labels, logits) + settings.kl_weight * kl_divergence(teacher, logits)

    def accuracy(lesson, logits):
        return tf_keras.metrics.sparse_categorical_accuracy(lesson[:, 0], logits)

    model.compile(tf_keras.optimizers.Adam(settings.learning_rate), loss, metrics=[accuracy])
    length = {"epochs": settings.epochs, "steps_per_epoch": steps_per_epoch}
    history = model.fit(lessons, **length, callbacks=callbacks, shuffle=False, verbose=2)
    if not np.isfinite(history.history["loss"]).all():
        raise ValueError("The loss is not finite any more. A smaller --learning-rate may help.")
