"""Spreads what a user gives once (a loss, a list of metrics, labels) over all outputs, as Keras wants it."""

import inspect
import warnings
from collections.abc import Mapping

import keras

# Keras' short names, by what they are short for.
ALIASES = {"bce": "binary_crossentropy", "kld": "kl_divergence"}

# What the arguments of a loss or metric are by default, for probabilities, and what they should be.
OF_PROBABILITIES = (
    ("from_logits", False, "it by its name, or from_logits=True"),
    ("threshold", 0.5, "it by its name, or threshold=0"),
    ("thresholds", None, "it by its name, or thresholds=0"),
)

# Metrics that compare with one half: the logit of that is 0.
COUNTS = ("precision", "recall", "truepositives", "truenegatives", "falsepositives", "falsenegatives")
THRESHOLDS = {"binaryaccuracy": "threshold", "binaryiou": "threshold", **dict.fromkeys(COUNTS, "thresholds")}


def by_key(name, value, keys):
    """`value` for each of `keys`. A list becomes a dict in the order of `keys`; a dict or `None` stays as it is."""
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


def labels_per_output(labels, keys, needed):
    """The labels of each of `keys`. Only the keys in `needed` have a loss or a metric."""
    given = by_key("y", labels, keys)
    if given is None:
        return None
    if missing := [key for key in needed if key not in given]:
        raise ValueError(f"`y` must have labels of {', '.join(needed)}. Missing: {', '.join(missing)}")
    # Keras wants labels for every output, also where nothing reads them.
    unused = next(iter(given.values()), None)
    return {key: given.get(key, unused) for key in keys}


def sample_weights_per_output(sample_weight, keys):
    """The sample weights of each of `keys`, `None` where a dict leaves one out."""
    given = by_key("sample_weight", sample_weight, keys)
    return None if given is None else {key: given.get(key) for key in keys}


def losses_per_output(loss, keys):
    """The losses of each of `keys`. Keras' cross-entropies by name become those of logits."""
    losses = by_key("loss", loss, keys)
    if losses is None:
        return None
    for key, of_key in losses.items():
        _warn_of_probabilities("loss", key, of_key)
    return {key: _of_logits(of_key, keras.losses) for key, of_key in losses.items()}


def weights_per_output(loss_weights, keys):
    """The weights of the losses by output key, 1 where a dict leaves one out.

    Keras would take a list in alphabetical order, with 14 before 8.
    """
    if loss_weights is not None and not isinstance(loss_weights, list | tuple | Mapping):
        raise ValueError(
            f"`loss_weights` must be a dict by output key, or a list with one for each of {', '.join(keys)}. "
            f"Received: {loss_weights!r}"
        )
    weights = by_key("loss_weights", loss_weights, keys)
    return None if weights is None else {**dict.fromkeys(keys, 1.0), **weights}


def metrics_per_output(metrics, keys, name="metrics"):
    """The metrics of each of `keys`. A metric that several outputs have is copied, because it holds a state."""
    of_each = isinstance(metrics, list | tuple) and any(isinstance(of_key, list | tuple) for of_key in metrics)
    if isinstance(metrics, list | tuple) and not of_each:
        metrics = dict.fromkeys(keys, metrics)
    metrics = by_key(name, metrics, keys)
    if metrics is None:
        return None
    taken, found = set(), {}
    for key, of_key in metrics.items():
        listed = of_key if isinstance(of_key, list | tuple) else [of_key]
        for metric in listed:
            _warn_of_probabilities(name, key, metric)
        own = [_copy(metric) if id(metric) in taken else metric for metric in listed]
        taken |= {id(metric) for metric in listed}
        found[key] = of_key and [_of_logits(metric, keras.metrics) for metric in own]
    return found


def _copy(metric):
    """Another metric of the same configuration. Names and functions have no state."""
    if not isinstance(metric, keras.metrics.Metric):
        return metric
    # With Keras' own `get_config`, a copy would silently have the defaults of such arguments.
    specification = inspect.getfullargspec(type(metric).__init__)
    own = {*specification.args, *specification.kwonlyargs} - {"self", "name", "dtype"}
    try:
        if type(metric).get_config is keras.metrics.Metric.get_config and own:
            raise TypeError(f"`get_config` lacks {', '.join(sorted(own))}")
        return type(metric).from_config(metric.get_config())
    except (TypeError, ValueError) as error:
        raise ValueError(
            "`metrics` must be a dict with a metric for each output where Keras cannot copy a metric by its "
            f"configuration. Received: {metric!r}"
        ) from error


def _warn_of_probabilities(name, key, value):
    """Warns of what takes logits for probabilities: Keras' cross-entropies by default, and metrics that compare."""
    settings = {}
    if isinstance(value, keras.losses.Loss | keras.metrics.Metric):
        settings = value.get_config()
    elif inspect.isfunction(value):
        settings = {name: parameter.default for name, parameter in inspect.signature(value).parameters.items()}
    remedies = [remedy for argument, default, remedy in OF_PROBABILITIES if settings.get(argument, remedy) == default]
    if remedies and isinstance(value, keras.metrics.FBetaScore):  # Keras refuses a threshold of 0 there
        remedies = ["a subclass that takes the sigmoid of `y_pred`"]
    if _kind(value if isinstance(value, str) else getattr(value, "__name__", type(value).__name__)) == "kldivergence":
        remedies = ["categorical_crossentropy, which differs by a constant"]
    # The first `top_k` need no threshold.
    if remedies and not settings.get("top_k"):
        warnings.warn(
            f"`{name}` of {key} takes probabilities, but outputs are logits: give {remedies[0]}. Received: {value!r}",
            stacklevel=4,
        )


def _kind(name):
    """A short name of Keras as that of the class, in small letters."""
    return ALIASES.get(name.lower(), name.lower()).replace("_", "")


def _of_logits(value, module):
    """What `module` knows by the name `value`, for logits if it can take them. Anything else unchanged."""
    if not isinstance(value, str):
        return value
    if value.lower() in ("crossentropy", "ce"):
        return crossentropy if module is keras.losses else keras.metrics.MeanMetricWrapper(crossentropy, name=value)
    classes = {name.lower(): found for name, found in vars(module).items() if inspect.isclass(found)}
    kind = _kind(value)
    of_module = classes.get(kind)
    if module is keras.metrics and kind in THRESHOLDS:
        return of_module(**{THRESHOLDS[kind]: 0.0}, name=value)
    takes_logits = of_module and "from_logits" in inspect.signature(of_module).parameters
    # Keras gives a metric the name that it was asked for by.
    return of_module(from_logits=True, name=value) if takes_logits else value


@keras.saving.register_keras_serializable("ddnn_keras")
def crossentropy(y_true, y_pred):
    """Keras' `"crossentropy"` of logits. Labels are indices or one-hot, as their shape says."""
    sparse = len(y_true.shape) < len(y_pred.shape) or y_true.shape[-1] == 1
    function = keras.losses.sparse_categorical_crossentropy if sparse else keras.losses.categorical_crossentropy
    return function(y_true, y_pred, from_logits=True)
