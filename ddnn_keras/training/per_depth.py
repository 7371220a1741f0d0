"""One loss, one list of metrics, one batch of labels: for every output the same. Keras wants a dict for each."""

import copy
import inspect
import warnings
from collections.abc import Mapping

import keras

# Keras' short names, by what they are short for.
ALIASES = {"bce": "binary_crossentropy"}


def labels_per_output(labels, keys, needed):
    """The labels of each of `keys`.

    Args:
        labels: Labels for all, a list in the order of `keys`, or a dict by key.
        keys: The output keys.
        needed: Those with a loss or a metric. The others may be left out.

    Raises:
        ValueError: If there are none for one that needs them, or some for none.

    Example:
    >>> labels_per_output("labels", ["depth_18", "depth_34"], needed=["depth_34"])
    {'depth_18': 'labels', 'depth_34': 'labels'}
    """
    given = by_key("y", labels, keys)
    if given is None:
        return None
    if missing := [key for key in needed if key not in given]:
        raise ValueError(f"`y` must have labels of {', '.join(needed)}. Missing: {', '.join(missing)}")
    # Keras wants the outputs' structure. It does not look at labels of what has neither loss nor metric.
    unused = next(iter(given.values()), None)
    return {key: given.get(key, unused) for key in keys}


def sample_weights_per_output(sample_weight, keys):
    """The sample weights of each of `keys`, `None` where a dict leaves one out.

    Args:
        sample_weight: Weights for all, a list in the order of `keys`, or a dict by key.
        keys: The output keys.

    Raises:
        ValueError: If a list has another length than `keys`, or a dict others.
    """
    given = by_key("sample_weight", sample_weight, keys)
    return None if given is None else {key: given.get(key) for key in keys}


def by_key(name, value, keys):
    """`value` for each of `keys`; a list in their order as a dict, and a dict, or `None`, as it is.

    Raises:
        ValueError: If a list has another length than `keys`, or a dict others.

    Example:
    >>> by_key("loss", "mse", ["depth_18", "depth_34"])
    {'depth_18': 'mse', 'depth_34': 'mse'}
    >>> by_key("loss", ["mse", "mae"], ["depth_18", "depth_34"])
    {'depth_18': 'mse', 'depth_34': 'mae'}
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        if len(value) != len(keys):
            raise ValueError(f"`{name}` must have one value for each of {', '.join(keys)}. Received: {value}")
        return dict(zip(keys, value))
    if not isinstance(value, Mapping):
        return dict.fromkeys(keys, value)
    if not value.keys() <= set(keys):
        received = ", ".join(map(repr, value))
        raise ValueError(f"`{name}` must have keys among {', '.join(keys)}. Received: a dict of {received}")
    return value


def losses_per_output(loss, keys):
    """The losses of each of `keys`. The outputs are logits, so a cross-entropy given by name is that of logits.

    Raises:
        ValueError: If a list has another length than `keys`, or a dict others.
    """
    losses = by_key("loss", loss, keys)
    if losses is None:
        return None
    for key, of_key in losses.items():
        _warn_of_probabilities("loss", key, of_key)
    return {key: _of_logits(of_key, keras.losses) for key, of_key in losses.items()}


def weights_per_output(loss_weights, keys):
    """The weights of losses by output key, 1 where none is given.

    By key, since Keras goes by position and orders keys by the alphabet: 14 before 8.

    Raises:
        ValueError: If it is neither a dict nor a list, or a list has another length than `keys`, or a dict others.
    """
    if loss_weights is not None and not isinstance(loss_weights, list | tuple | Mapping):
        raise ValueError(
            f"`loss_weights` must be a dict by output key, or a list with one for each of {', '.join(keys)}. "
            f"Received: {loss_weights!r}"
        )
    weights = by_key("loss_weights", loss_weights, keys)
    return None if weights is None else {**dict.fromkeys(keys, 1.0), **weights}


def metrics_per_output(metrics, keys, name="metrics"):
    """The metrics of each of `keys`. A metric holds a state, so each output gets metrics of its own: of one that stands
    under several of them, all but the first get a copy.

    Raises:
        ValueError: If a list of lists has another length than `keys`, or a dict others.
    """
    of_each = isinstance(metrics, list | tuple) and any(isinstance(of_key, list | tuple) for of_key in metrics)
    if not of_each and not isinstance(metrics, Mapping | None):
        metrics = {key: [_copy(metric) for metric in _listed(metrics)] for key in keys}
    metrics = by_key(name, metrics, keys)
    if metrics is None:
        return None
    for key, of_key in metrics.items():
        for metric in _listed(of_key):
            _warn_of_probabilities(name, key, metric)
    taken = set()

    def own(metric):
        if id(metric) in taken:
            return _copy(metric)
        taken.add(id(metric))
        return metric

    return {
        key: of_key and [_of_logits(own(metric), keras.metrics) for metric in _listed(of_key)]
        for key, of_key in metrics.items()
    }


def _warn_of_probabilities(name, key, value):
    """Tells of a cross-entropy that takes logits for probabilities, as Keras' own do unless they are told."""
    settings = {}
    if isinstance(value, keras.losses.Loss | keras.metrics.Metric):
        settings = value.get_config()
    elif inspect.isfunction(value):
        settings = {name: parameter.default for name, parameter in inspect.signature(value).parameters.items()}
    if settings.get("from_logits") is False:
        warnings.warn(
            f"`{name}` of {key} takes probabilities, but outputs are logits: give it by its name, or from_logits=True. "
            f"Received: {value!r}",
            stacklevel=4,
        )


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
    if value.lower() in ("crossentropy", "ce"):
        return crossentropy if module is keras.losses else keras.metrics.MeanMetricWrapper(crossentropy, name=value)
    value = ALIASES.get(value.lower(), value)
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
