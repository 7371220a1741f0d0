"""Embedded Knowledge Distillation: the terms by which the full-net teaches its sub-nets, after arXiv 2103.00793.

All functions give one value per sample, in float32. They stop the gradient at whatever comes from the teacher. So the
full-net learns from the labels alone, unless the mean of all depths is the teacher.
"""

import dataclasses
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

    The mean squared difference of two such maps is `2 (1 - r)`, with `r` their Pearson correlation.

    Args:
        features: Shape `(batch, height, width, channels)`.

    Returns:
        A tensor of shape `(batch, height, width)`.
    """
    # The mean differs from the sum by a factor that standardizing removes, and keeps EPSILON small beside it. Of all
    # ways to write it, one matrix product in the features' own precision is the fastest on a CPU with TensorFlow: a
    # cast to float32 before it would cost more than all the rest, in the gradient too.
    *_, height, width, channels = features.shape
    mean_over_channels = ops.full((channels, 1), 1 / channels, dtype=features.dtype)
    attention = ops.reshape(ops.reshape(features, (-1, channels)) @ mean_over_channels, (-1, height, width))
    attention = ops.cast(attention, "float32")
    mean, variance = ops.moments(attention, axes=(1, 2), keepdims=True)
    return (attention - mean) * ops.rsqrt(variance + EPSILON)


def activation_attention(features):
    """The mean over channels of the squares, of unit L2 norm (https://arxiv.org/abs/1612.03928).

    Args:
        features: Shape `(batch, height, width, channels)`.

    Returns:
        A tensor of shape `(batch, height, width)`.
    """
    attention = ops.mean(ops.square(ops.cast(features, "float32")), axis=-1)
    return attention * ops.rsqrt(ops.sum(ops.square(attention), axis=(1, 2), keepdims=True) + EPSILON**2)


ATTENTION_MAPS = {"standardized": standardized_attention, "activation": activation_attention}

TEACHERS = ("full-net", "mean")


def attention_loss(teacher_features, student_features, attention="standardized"):
    """Mean over stages of the mean squared difference between the attention maps of teacher and student.

    Args:
        teacher_features: A list with the full-net's features of each stage, shapes `(batch, height, width,
            channels)`. Receives no gradient.
        student_features: A list with a sub-net's features of the same stages and resolutions. Where a stage's
            features are the teacher's own tensor, which paths that have not parted yet have in common, the term is 0.
        attention: `"standardized"` or `"activation"`, see `standardized_attention` and `activation_attention`.

    Returns:
        A tensor of shape `(batch,)`.

    Raises:
        ValueError: If the resolutions of a stage differ, or if no stage has four positions or more: a map of one
            position has nothing to teach, so such stages are left out.
    """
    for teacher, student in zip(teacher_features, student_features):
        if teacher.shape[1:3] != student.shape[1:3]:
            sizes = " and ".join("x".join(map(str, feature.shape[1:3])) for feature in (teacher, student))
            raise ValueError(f"A stage's features must have the same resolution at every depth. Received: {sizes}")
    stages = [pair for pair in zip(teacher_features, student_features) if pair[0].shape[1] * pair[0].shape[2] >= 4]
    if not stages:
        raise ValueError("`attention_weight` must be 0 where no stage has features of four positions or more.")
    attention_map = ATTENTION_MAPS[attention]
    total = ops.zeros(ops.shape(student_features[0])[:1], "float32")
    for teacher, student in stages:
        if student is not teacher:
            difference = attention_map(student) - attention_map(ops.stop_gradient(teacher))
            total = total + ops.mean(ops.square(difference), axis=(1, 2))
    return total / len(stages)


def is_finite(value):
    """Whether it is a number that is neither infinite nor NaN."""
    return isinstance(value, numbers.Real) and math.isfinite(value)


@keras.saving.register_keras_serializable("ddnn_keras")
@dataclasses.dataclass(frozen=True)
class EKD:
    """How the full-net teaches its sub-nets; the `distillation` argument of `DDNN.compile`.

    Each sub-net's loss is its cross-entropy `+ kl_weight * KL + attention_weight * AT`, with `kl_divergence` and
    `attention_loss` taken against the full-net (but see `teacher`). Defaults are those of the first runs, which were
    not kept, unless a later measurement is named; what is named is in `recipes/results/README.md`, points are of
    accuracy, intervals of 95 % confidence.

    Args:
        temperature: Softens the probabilities in KL, a positive float. Defaults to `1.0`: 3 and 4 are usual elsewhere,
            but 4 cost ResNet-8/14/20 0.48 [0.00, 0.95], 0.72 [0.33, 1.10] and 0.69 [0.27, 1.12] points in a screening
            of 32 runs on CIFAR-10.
        kl_weight: Weight of KL, a float of 0 or more. Defaults to `1.0`, a choice for the shallow: with it, EKD lifts
            ResNet-8 above joint training without distillation, in the mean, wherever both were run on CIFAR-10. It may
            lower ResNet-20: on test images the mean is below joint training in every comparison, in one with its
            interval (40 epochs, -0.46 [-0.85, -0.07]); on validation images in three of six. On Fashion-MNIST, at the
            published width, EKD over joint training is +0.17 [+0.09, +0.25] points at ResNet-8 and -0.21 [-0.28, -0.13]
            at ResNet-20 (13 pairs, test images). In the screening 0.3 did -0.38 [-0.86, +0.09] to ResNet-8 and +0.40
            [-0.02, +0.83] to ResNet-20.
        attention_weight: Weight of AT, a float of 0 or more. Defaults to `0.1`. Nothing shows that it helps: EKD
            minus KL alone is +0.06 [-0.29, +0.41] points at ResNet-8 and -0.02 [-0.28, +0.25] at ResNet-20 (16 pairs
            of runs on Fashion-MNIST), and +0.11 [-0.70, +0.93] and -0.03 [-0.60, +0.53] with 10,000 images of CIFAR-10
            (four, test images); 0 spares its time. On CIFAR-10, 0.3 at a single stage, nine times its share of this
            weight, helped no depth.
        attention: Which attention map: `"standardized"` or `"activation"`. Defaults to `"standardized"`, whose term
            does not depend on the features' resolution, nor on their scale unless they are tiny. The other's usual
            weight is 1000: with features of 16x16 to 4x4 that cost ResNet-8 16.9 [11.4, 22.3] points in six epochs on
            CIFAR-10; 30 did nothing that shows in 15.
        teacher: Whose class probabilities teach: `"full-net"`, or `"mean"` for the mean of all depths' logits, which
            then teaches the full-net too. Attention maps are always the full-net's. Defaults to `"full-net"`, as in
            the paper's abstract: in the screening, `"mean"` cost ResNet-8 0.63 [0.15, 1.10] points.

    Raises:
        ValueError: If an argument is not as above.

    Example:
    >>> EKD(kl_weight=0.5)
    EKD(temperature=1.0, kl_weight=0.5, attention_weight=0.1, attention='standardized', teacher='full-net')
    """

    temperature: float = 1.0
    kl_weight: float = 1.0
    attention_weight: float = 0.1
    attention: str = "standardized"
    teacher: str = "full-net"

    def __post_init__(self):
        if not (is_finite(self.temperature) and self.temperature > 0):
            raise ValueError(f"`temperature` must be a positive number. Received: temperature={self.temperature!r}")
        for name in ("kl_weight", "attention_weight"):
            if not (is_finite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"`{name}` must be a number of 0 or more. Received: {name}={getattr(self, name)!r}")
        for name, allowed in {"attention": ATTENTION_MAPS, "teacher": TEACHERS}.items():
            if getattr(self, name) not in list(allowed):
                known = ", ".join(map(repr, allowed))
                raise ValueError(f"`{name}` must be one of {known}. Received: {name}={getattr(self, name)!r}")

    @property
    def terms(self):
        """The terms of a depth's loss beside its cross-entropy, those with a weight above 0.

        A dict from a term's name to its weight and to a function from the student's key and from all depths' logits
        and features, dicts whose last entry is the full-net's, to values per sample, shape `(batch,)`.
        """
        terms = {"kl_loss": (self.kl_weight, self._kl), "attention_loss": (self.attention_weight, self._attention)}
        return {name: term for name, term in terms.items() if term[0]}

    def students(self, term, keys):
        """The keys of the depths that a term teaches, of `keys`, whose last is the full-net's."""
        return keys if term == "kl_loss" and self.teacher == "mean" else keys[:-1]

    def _kl(self, key, logits, features):
        *_, full_net = logits.values()
        teacher = full_net if self.teacher == "full-net" else sum(logits.values()) / len(logits)
        return kl_divergence(teacher, logits[key], self.temperature)

    def _attention(self, key, logits, features):
        *_, full_net = features.values()
        return attention_loss(full_net, features[key], self.attention)

    def get_config(self):
        """The arguments, by name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config):
        """Makes the object that `get_config` describes."""
        return cls(**config)
