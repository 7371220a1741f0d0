"""One loss, one list of metrics, one batch of labels: for every output the same. Keras wants a dict for each."""

from collections.abc import Mapping

import keras

# Outputs are logits, which a loss given by name must be told.
CROSS_ENTROPIES = {
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
}


def per_output(value, keys):
    """`value` for each of `keys`; a dict or `None` as it is.

    Example:
    >>> per_output([3, 1], ["depth_18", "depth_34"])
    {'depth_18': [3, 1], 'depth_34': [3, 1]}
    """
    return value if value is None or isinstance(value, Mapping) else {key: value for key in keys}


def losses_per_output(loss, keys):
    """The losses of each of `keys`, where cross-entropies given by name are those of logits."""
    losses = per_output(loss, keys)
    return losses and {
        key: CROSS_ENTROPIES[loss](from_logits=True) if isinstance(loss, str) and loss in CROSS_ENTROPIES else loss
        for key, loss in losses.items()
    }


def metrics_per_output(metrics, keys):
    """The metrics of each of `keys`. A metric holds a state, so each output gets metrics of its own."""
    if metrics is None or isinstance(metrics, Mapping):
        return metrics
    metrics = metrics if isinstance(metrics, list | tuple) else [metrics]
    return {key: [_copy(metric) for metric in metrics] for key in keys}


def _copy(metric):
    return metric.from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric
