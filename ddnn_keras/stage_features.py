"""Which stage features belong to logits: distillation compares both, and Keras gives a loss the outputs alone."""

import contextlib
import threading


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
