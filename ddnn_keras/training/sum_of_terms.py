"""The sum of the distillation terms of `ddnn_keras.EKD`, which is added to Keras' losses.

Distillation needs the images and the features behind the logits, but Keras gives a loss the logits alone. So a network
remembers those of its latest forward pass.
"""

import threading

import keras
from keras import ops


class LatestPass(threading.local):
    """A network's latest forward pass. Each thread has its own, for tf.distribute's replicas."""

    def __init__(self):
        self._logits, self._others = {}, None

    def remember(self, images, logits, features):
        """Keeps images, and logits and features, dicts by output key, until the next forward pass."""
        self._logits, self._others = logits, (images, features)

    def behind(self, logits):
        """The images and features behind these logits, or `None` if the logits are not those of the latest pass."""
        known = self._logits
        same = known.keys() == logits.keys() and all(known[key] is logits[key] for key in known)
        return self._others if same else None


class CompiledDistillation:
    """The terms of an `EKD`, or none, for the output keys of a network, with a metric for each term."""

    def __init__(self, distillation, keys):
        self.distillation = distillation
        *_, self._full_net = keys
        self._terms = distillation.terms(keys) if distillation else {}
        self._trackers = {term: keras.metrics.Mean(name="_".join(term)) for term in self._terms}
        self._mean = BatchMean()

    @property
    def metrics(self):
        """A `keras.metrics.Mean` for each term, such as `depth_18_kl_loss`, without the weight."""
        return list(self._trackers.values())

    def __call__(self, images, logits, features, sample_weight=None):
        """The weighted sum of all terms. What is not `images` is a dict by output key, with a weight per sample."""
        teacher_logits = self.distillation.teacher_logits(images, logits, self._full_net)
        total = 0.0
        for (key, name), (weight, function) in self._terms.items():
            values = function(teacher_logits, logits, features)
            if sample_weight is not None and sample_weight[key] is not None:
                values = values * ops.reshape(ops.cast(sample_weight[key], values.dtype), (-1,))
            self._trackers[key, name].update_state(values)
            total = total + weight * self._mean(values, values)
        return total


class BatchMean(keras.losses.Loss):
    """The mean over the batch as every Keras loss computes it, with the scaling for `tf.distribute`."""

    def call(self, y_true, y_pred):
        """The values themselves."""
        return y_pred
