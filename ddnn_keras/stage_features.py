"""Which stage features belong to logits: distillation compares both, and Keras gives a loss the outputs alone."""

import contextlib
import contextvars

# A context variable, since tf.distribute traces each replica's step in a thread of its own.
_latest = contextvars.ContextVar("latest", default=({}, None))


def remember(logits, features):
    """Keeps the features of a forward pass until the next one.

    Args:
        logits: A dict from output keys to logits.
        features: A dict from output keys to lists of stage features.
    """
    _latest.set((logits, features))


def features_of(logits):
    """The features of the forward pass that gave these logits, if it was the latest; otherwise `None`."""
    known, features = _latest.get()
    same = known.keys() == logits.keys() and all(known[key] is logits[key] for key in known)
    return features if same else None


@contextlib.contextmanager
def forgotten_afterwards():
    """Forgets the forward passes within: what a traced step remembers are tensors of its graph."""
    token = _latest.set(({}, None))
    try:
        yield
    finally:
        _latest.reset(token)
