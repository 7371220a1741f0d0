"""Embedded Knowledge Distillation: how the full-net teaches its sub-nets, after arXiv 2103.00793.

The KL term is `kl_divergence`, the attention term is `attention_loss`. Both give one float32 value per sample, and both
stop the gradient at the teacher.
"""

import dataclasses
import functools
import math
import numbers

import keras
from keras import ops

# Standardizing divides by sqrt(variance + EPSILON), so that a constant map gives zeros and not NaN.
EPSILON = 1e-6


def kl_divergence(teacher_logits, student_logits, temperature=1.0):
    """KL divergence between the class probabilities of teacher and student.

    `T² Σ_c p_t (log p_t - log p_k)` with `p = softmax(z / T)`, through `log_softmax`. The factor T² keeps the
    gradient's size independent of T (Hinton et al., https://arxiv.org/abs/1503.02531).

    Args:
        teacher_logits: The full-net's logits, shape `(batch, classes)`. Receives no gradient.
        student_logits: A sub-net's logits, same shape.
        temperature: T, a positive float. Defaults to `1.0`.

    Returns:
        A tensor of shape `(batch,)`.

    Example:
    >>> import numpy as np
    >>> logits = np.array([[2.0, 0.0]])
    >>> float(kl_divergence(logits, logits + 5.0)[0])
    0.0
    """
    log_teacher = ops.log_softmax(ops.cast(ops.stop_gradient(teacher_logits), "float32") / temperature)
    log_student = ops.log_softmax(ops.cast(student_logits, "float32") / temperature)
    return temperature**2 * ops.sum(ops.exp(log_teacher) * (log_teacher - log_student), axis=-1)


def standardized_attention(features):
    """The sum over channels, standardized over positions, as in https://github.com/cv516Buaa/EKD-FWSNet.

    The mean squared difference of two such maps is `2 (1 - r)`, with `r` their Pearson correlation. Features of shape
    `(batch, height, width, channels)` give maps of shape `(batch, height, width)`.
    """
    # Standardizing removes the factor between mean and sum, and the mean keeps EPSILON small in comparison. A matrix
    # product in the features' own precision is the fastest way on a CPU with TensorFlow.
    *_, height, width, channels = features.shape
    mean_over_channels = ops.full((channels, 1), 1 / channels, dtype=features.dtype)
    attention = ops.reshape(ops.reshape(features, (-1, channels)) @ mean_over_channels, (-1, height, width))
    attention = ops.cast(attention, "float32")
    mean, variance = ops.moments(attention, axes=(1, 2), keepdims=True)
    return (attention - mean) * ops.rsqrt(variance + EPSILON)


def activation_attention(features):
    """The mean over channels of the squares, of unit L2 norm (https://arxiv.org/abs/1612.03928).

    Features of shape `(batch, height, width, channels)` give maps of shape `(batch, height, width)`.
    """
    attention = ops.mean(ops.square(ops.cast(features, "float32")), axis=-1)
    return attention * ops.rsqrt(ops.sum(ops.square(attention), axis=(1, 2), keepdims=True) + EPSILON**2)


ATTENTION_MAPS = {"standardized": standardized_attention, "activation": activation_attention}

# Whose class probabilities teach. A file does not hold another network that taught; it says so instead.
TEACHERS = ("full-net", "mean")
NOT_IN_FILE = "another network"


def attention_loss(teacher_features, student_features, attention="standardized"):
    """Mean over stages of the mean squared difference between the attention maps of teacher and student.

    Stages of tokens, and those with fewer than four positions, are left out. One that both depths share counts as 0.

    Args:
        teacher_features: A list with the full-net's features of each stage, shapes `(batch, height, width,
            channels)`. Receives no gradient.
        student_features: A list with a sub-net's features of the same stages and resolutions.
        attention: `"standardized"` or `"activation"`, see `standardized_attention` and `activation_attention`.

    Returns:
        A tensor of shape `(batch,)`.

    Raises:
        ValueError: If the resolutions of a stage differ, or if every stage has fewer than four positions.
    """
    for teacher, student in zip(teacher_features, student_features):
        if teacher.shape[1:3] != student.shape[1:3]:
            sizes = " and ".join("x".join(map(str, feature.shape[1:3])) for feature in (teacher, student))
            raise ValueError(f"A stage's features must have the same resolution at every depth. Received: {sizes}")
    stages = [pair for pair in zip(teacher_features, student_features) if has_attention(pair[0].shape)]
    if not stages:
        raise ValueError("`attention_weight` must be 0 where no stage has features of four positions or more.")
    attention_map = ATTENTION_MAPS[attention]
    total = ops.zeros(ops.shape(student_features[0])[:1], "float32")
    for teacher, student in stages:
        if student is not teacher:
            difference = attention_map(student) - attention_map(ops.stop_gradient(teacher))
            total = total + ops.mean(ops.square(difference), axis=(1, 2))
    return total / len(stages)


def has_attention(shape):
    """Whether features of a shape have four positions or more in a plane, unlike tokens and vectors."""
    return len(shape) == 4 and shape[1] * shape[2] >= 4


def is_finite(value):
    """Whether it is a number that is neither infinite nor NaN."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


def ends_in_softmax(network):
    """Whether the last layer of a Keras network, perhaps of one within it, is a softmax, as in `keras.applications`."""
    last = network.layers[-1] if network.layers else None
    if isinstance(last, keras.Model):
        return ends_in_softmax(last)
    return isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax


@keras.saving.register_keras_serializable("ddnn_keras")
@dataclasses.dataclass(frozen=True)
class EKD:
    """How the full-net teaches its sub-nets; the `distillation` argument of `DDNN.compile`.

    The loss of a sub-net is its cross-entropy `+ kl_weight * KL + attention_weight * AT`. KL is `kl_divergence` and AT
    is `attention_loss` against the full-net. `teacher` says what KL is against. The measurements behind the defaults
    are in `recipes/results/choices/README.md`.

    A network that was trained before can teach in KL, see `teacher`. It teaches the full-net too, and stays as it is. A
    file of the student does not hold it. So to go on with training after loading, call `compile` with it again.

    Args:
        temperature: Divides the logits in KL, a positive float. Higher values make the probabilities softer. Defaults
            to `1.0`, because `4.0` lowered the accuracy of every depth.
        kl_weight: Weight of KL, a float of 0 or more. Defaults to `1.0`, which favours the shallowest depth. That a
            smaller weight spares the full-net is not shown.
        attention_weight: Weight of AT, a float of 0 or more. Defaults to `0.1`, which has shown no measurable effect.
            `0` saves its time.
        attention: The attention map: `"standardized"` (see `standardized_attention`) or `"activation"` (see
            `activation_attention`, which usually takes a weight of 1000). Defaults to `"standardized"`, because its
            term does not depend on the resolution of the features.
        teacher: Whose class probabilities teach in KL: `"full-net"`; or `"mean"` for the mean of all depths' logits,
            which teaches the full-net too; or a trained `keras.Model` from the same images to logits, such as
            `alone.subnet(50)`. Defaults to `"full-net"`, as in the paper's abstract.

    Example:
    >>> EKD(kl_weight=0.5)
    EKD(temperature=1.0, kl_weight=0.5, attention_weight=0.1, attention='standardized', teacher='full-net')
    """

    temperature: float = 1.0
    kl_weight: float = 1.0
    attention_weight: float = 0.1
    attention: str = "standardized"
    teacher: str | keras.Model = "full-net"

    def __post_init__(self):
        if not (is_finite(self.temperature) and self.temperature > 0):
            raise ValueError(f"`temperature` must be a positive number. Received: temperature={self.temperature!r}")
        for name in ("kl_weight", "attention_weight"):
            if not (is_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"`{name}` must be a number of 0 or more. Received: {name}={getattr(self, name)!r}")
        if self.attention not in list(ATTENTION_MAPS):
            known = ", ".join(map(repr, ATTENTION_MAPS))
            raise ValueError(f"`attention` must be one of {known}. Received: attention={self.attention!r}")
        if self.teacher not in (*TEACHERS, NOT_IN_FILE) and not isinstance(self.teacher, keras.Model):
            known = ", ".join(map(repr, TEACHERS))
            raise ValueError(f"`teacher` must be one of {known}, or a keras.Model. Received: teacher={self.teacher!r}")
        if isinstance(self.teacher, keras.Model) and ends_in_softmax(self.teacher):
            raise ValueError(f"`teacher` must give logits, not probabilities. Received: teacher={self.teacher!r}")

    @property
    def lacks_teacher(self):
        """Whether it comes from a file, and the network that taught is missing."""
        return self.kl_weight > 0 and self.teacher == NOT_IN_FILE

    def terms(self, keys):
        """The terms with a weight above 0, beside each depth's cross-entropy, for output keys with the full-net's last.

        A dict from pairs such as `("depth_18", "kl_loss")` to pairs of a weight and a function. The function takes the
        teacher's logits, and the logits and features of all depths, dicts by output key. It gives a value per sample.
        """
        *students, full_net = keys
        taught = students if self.teacher == "full-net" else keys
        terms = {}
        for key in keys:
            if self.kl_weight and key in taught and not self.lacks_teacher:
                terms[key, "kl_loss"] = self.kl_weight, functools.partial(self._kl, key)
            if self.attention_weight and key in students:
                terms[key, "attention_loss"] = self.attention_weight, functools.partial(self._attention, key, full_net)
        return terms

    def teacher_logits(self, images, logits, full_net):
        """What teaches in KL, or `None`, for images and a network's own logits for them, a dict by output key."""
        if self.kl_weight == 0 or self.lacks_teacher:
            return None
        if self.teacher == "full-net":
            return logits[full_net]
        if self.teacher == "mean":
            return sum(logits.values()) / len(logits)
        found = self.teacher(images, training=False)
        if not ops.is_tensor(found) or found.shape[-1] != logits[full_net].shape[-1]:
            raise ValueError(
                f"`teacher` must give logits of {logits[full_net].shape[-1]} classes, as a network's `subnet` does. "
                f"Received: {found}"
            )
        return found

    def _kl(self, student, teacher_logits, logits, features):
        return kl_divergence(teacher_logits, logits[student], self.temperature)

    def _attention(self, student, full_net, teacher_logits, logits, features):
        return attention_loss(features[full_net], features[student], self.attention)

    def get_config(self):
        """The arguments, by name, but for another network that teaches."""
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**config, "teacher": NOT_IN_FILE} if isinstance(self.teacher, keras.Model) else config

    @classmethod
    def from_config(cls, config):
        """Makes the object that `get_config` describes."""
        return cls(**config)
