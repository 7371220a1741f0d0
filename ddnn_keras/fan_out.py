"""One loss, one list of metrics, one batch of labels: for every output the same. Keras wants a dict for each."""

import copy
import inspect
from collections.abc import Mapping

import keras


def per_output(value, keys):
    """`value` for each of `keys`; `None`, or a dict that has all of them, as it is.

    Raises:
        ValueError: If a dict lacks one.

    Example:
    >>> per_output([3, 1], ["depth_18", "depth_34"])
    {'depth_18': [3, 1], 'depth_34': [3, 1]}
    """
    if not isinstance(value, Mapping):
        return None if value is None else dict.fromkeys(keys, value)
    if missing := [key for key in keys if key not in value]:
        raise ValueError(f"A dict by output must have {', '.join(keys)}. Missing: {', '.join(missing)}")
    return value


def losses_per_output(loss, keys):
    """The losses of each of `keys`. The outputs are logits, so a cross-entropy given by name is that of logits.

    Raises:
        ValueError: If a list has another length than `keys`.
    """
    if loss is None:
        return None
    losses = _in_order("loss", loss, keys) if isinstance(loss, list | tuple) else loss
    losses = losses if isinstance(losses, Mapping) else dict.fromkeys(keys, losses)
    return {key: _of_logits(loss, keras.losses) for key, loss in losses.items()}


def weights_per_output(loss_weights, keys):
    """The weights of losses by output key, 1 where none is given.

    By key, since Keras goes by position and orders keys by the alphabet: 14 before 8.

    Raises:
        ValueError: If a list has another length than `keys`, or a dict other keys.
    """
    if isinstance(loss_weights, list | tuple):
        return _in_order("loss_weights", loss_weights, keys)
    if not isinstance(loss_weights, Mapping):
        return loss_weights
    if not set(loss_weights) <= set(keys):
        raise ValueError(f"`loss_weights` must have keys among {', '.join(keys)}. Received: {loss_weights}")
    return {**dict.fromkeys(keys, 1.0), **loss_weights}


def metrics_per_output(metrics, keys):
    """The metrics of each of `keys`. A metric holds a state, so each output gets metrics of its own."""
    if metrics is None:
        return None
    if not isinstance(metrics, Mapping):
        metrics = {key: [_copy(metric) for metric in _listed(metrics)] for key in keys}
    return {
        key: of_key and [_of_logits(metric, keras.metrics) for metric in _listed(of_key)]
        for key, of_key in metrics.items()
    }


def _in_order(name, values, keys):
    if len(values) != len(keys):
        raise ValueError(f"`{name}` must have one value for each of {', '.join(keys)}. Received: {values}")
    return dict(zip(keys, values))


def _listed(metrics):
    return metrics if isinstance(metrics, list | tuple) else [metrics]


def _copy(metric):
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    # Not by its configuration, as `copy.deepcopy` alone would: a metric of a user's own needs none until it is saved.
    twin = type(metric).__new__(type(metric))
    networks = {id(value): value for value in vars(metric).values() if isinstance(value, keras.Layer)}
    try:
        vars(twin).update(copy.deepcopy(vars(metric), {id(metric): twin, **networks}))
    except TypeError as error:
        raise ValueError(
            "`metrics` must be a dict from output keys where a metric cannot be copied for each of them. "
            f"Received: {metric!r}: {error}"
        ) from error
    return twin


def _of_logits(value, module):
    """What Keras' `module` knows by that name, if it is a cross-entropy: of logits. All else as it is."""
    if not isinstance(value, str):
        return value
    if module is keras.losses and value.lower() in ("crossentropy", "ce"):
        return crossentropy
    camel_case = value if value in dir(module) and value[0].isupper() else value.title().replace("_", "")
    of_module = getattr(module, camel_case, None)
    takes_logits = of_module and "from_logits" in inspect.signature(of_module).parameters
    return of_module(from_logits=True) if takes_logits else value


@keras.saving.register_keras_serializable("ddnn_keras")
def crossentropy(y_true, y_pred):
    """Keras' `"crossentropy"`, of logits: the labels' shape says whether they are sparse.

    Args:
        y_true: Labels of shape `(batch,)` or `(batch, 1)`, or one-hot of shape `(batch, classes)`.
        y_pred: Logits of shape `(batch, classes)`.

    Returns:
        A tensor of shape `(batch,)`.
    """
    sparse = len(y_true.shape) < len(y_pred.shape) or y_true.shape[-1] == 1
    function = keras.losses.sparse_categorical_crossentropy if sparse else keras.losses.categorical_crossentropy
    return function(y_true, y_pred, from_logits=True)
