"""The sum of the distillation terms of `ddnn_keras.EKD`, which is added to Keras' losses."""

import keras
from keras import ops


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
