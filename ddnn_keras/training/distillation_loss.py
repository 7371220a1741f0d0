"""The distillation terms beside Keras' losses: which features belong to which logits, and the weighted sum.

Distillation compares logits and features, and Keras gives a loss the outputs alone.
"""

import contextlib
import threading

import keras
from keras import ops

MEANS = ("sum_over_batch_size", "mean")  # Keras has two names for it


class LatestPass(threading.local):
    """What a network's latest forward pass gave, in each thread: tf.distribute traces every replica's step in one."""

    def __init__(self):
        self._logits, self._features = {}, None

    def remember(self, logits, features):
        """Keeps a forward pass until the next one.

        Args:
            logits: A dict from output keys to logits.
            features: A dict from output keys to lists of stage features.
        """
        self._logits, self._features = logits, features

    def features_of(self, logits):
        """The features behind these logits, if they are of the latest pass; otherwise `None`."""
        known = self._logits
        same = known.keys() == logits.keys() and all(known[key] is logits[key] for key in known)
        return self._features if same else None

    @contextlib.contextmanager
    def forgotten_afterwards(self):
        """Forgets the forward passes within: what a traced step remembers are tensors of its graph."""
        before = self._logits, self._features
        try:
            yield
        finally:
            self._logits, self._features = before


def check_reductions(losses):
    """Raises a `ValueError` if a loss is no mean over the batch, as the terms beside it are.

    Args:
        losses: A dict from output keys to losses.
    """
    for key, loss in losses.items():
        reduction = getattr(loss, "reduction", MEANS[0])
        if reduction not in MEANS:
            known = " or ".join(map(repr, MEANS))
            raise ValueError(
                f"`loss` must have the reduction {known} beside `distillation`, whose terms are means over the batch. "
                f"Received: {reduction!r} for {key}"
            )


class CompiledDistillation:
    """The distillation terms of one network's sub-nets, with a metric for each.

    Args:
        distillation: An `EKD`, or `None` for no terms.
        keys: The network's output keys, the full-net's last.
    """

    def __init__(self, distillation, keys):
        self.distillation = distillation
        self._keys = keys
        self._terms = distillation.terms if distillation else {}
        self._trackers = {
            (key, term): keras.metrics.Mean(name=f"{key}_{term}")
            for key in keys
            for term in self._terms
            if key in distillation.students(term, keys)
        }
        self._mean = BatchMean()

    @property
    def metrics(self):
        """A `keras.metrics.Mean` for each term of each student, such as `depth_18_kl_loss`; without the weights."""
        return list(self._trackers.values())

    def __call__(self, logits, features, sample_weight=None):
        """The weighted sum of all terms.

        Args:
            logits: A dict from output keys to logits.
            features: A dict from output keys to lists of stage features.
            sample_weight: Optional dict from output keys to weights of shape `(batch,)` or `(batch, 1)`, or `None`.

        Returns:
            A scalar.
        """
        # Dicts that went through a Keras model need not have the order that they were given.
        logits, features = ({key: values[key] for key in self._keys} for values in (logits, features))
        total = 0.0
        for (key, name), tracker in self._trackers.items():
            weight, term = self._terms[name]
            values = term(key, logits, features)
            if sample_weight is not None and sample_weight[key] is not None:
                values = values * ops.reshape(ops.cast(sample_weight[key], values.dtype), (-1,))
            tracker.update_state(values)
            total = total + weight * self._mean(values, values)
        return total


class BatchMean(keras.losses.Loss):
    """Reduces values per sample the way every Keras loss does, which includes the scaling for `tf.distribute`."""

    def call(self, y_true, y_pred):
        """The values themselves."""
        return y_pred
