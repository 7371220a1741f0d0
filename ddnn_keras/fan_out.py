"""One loss, one list of metrics, one batch of labels: for every output the same. Keras wants a dict for each."""

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
    """The losses of each of `keys`. The outputs are logits, so a cross-entropy given by name is that of logits."""
    if loss is None:
        return None
    losses = loss if isinstance(loss, Mapping) else dict.fromkeys(keys, loss)
    return {key: _of_logits(loss) if isinstance(loss, str) else loss for key, loss in losses.items()}


def _of_logits(name):
    camel_case = name if name in dir(keras.losses) and name[0].isupper() else name.title().replace("_", "")
    loss_class = getattr(keras.losses, camel_case, None)
    takes_logits = loss_class and "from_logits" in inspect.signature(loss_class).parameters
    return loss_class(from_logits=True) if takes_logits else name


def metrics_per_output(metrics, keys):
    """The metrics of each of `keys`. A metric holds a state, so each output gets metrics of its own."""
    if metrics is None or isinstance(metrics, Mapping):
        return metrics
    metrics = metrics if isinstance(metrics, list | tuple) else [metrics]
    return {key: [_copy(metric) for metric in metrics] for key in keys}


def _copy(metric):
    return metric.from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric
