"""A `.tflite` file is verified on held-out images: it must do what its Keras model does, within its mode's bounds.

`modes.py` has the bounds. The scripts choose the images, up to 1,000 of the test split. `export/README.md` has both.
"""

import dataclasses
import random

import numpy as np

from ddnn_keras.runtime.benchmark import timed_rounds
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import operators, tensor_types
from ddnn_keras.tflite.model_copies import float32_logits
from ddnn_keras.tflite.modes import MODES

# Relative to the range of all logits. An integer file's logits come in steps of 1/255 of it. This is five steps.
NEAR_TIE = 0.02

WARM_UP, TIMED = 5, 30  # invocations. The first ones allocate memory and fill caches.


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a file compares with its Keras model. Accuracies and agreements are fractions."""

    num_images: int
    max_abs_error: float  # the largest difference of a logit
    p90_abs_error: float  # the 90th percentile of the images' largest differences
    max_abs_logit: float  # of the Keras model
    argmax_agreement: float  # the images on which both give the same class
    # The images on which the file gives a clearly other class: the Keras model's logits of both classes differ by more
    # than `NEAR_TIE` of the range of all its logits.
    clear_disagreement: float
    accuracy: float
    keras_accuracy: float  # in float32
    milliseconds_per_image: float  # the median on one thread of this machine
    size_bytes: int


class VerificationError(ValueError):
    """A file does not do what its Keras model does."""


def verify(content, subnet, images, labels, mode=MODES["none"], signature=None):
    """Compares a file with its Keras model, and raises if they differ by too much.

    The file must consist of builtin operators. Integer files must hold integers alone between input and output. The
    mode's `Tolerance` bounds how far classes, accuracy and logits may be apart. Two standard errors widen the bounds of
    classes and accuracy, which is much with few images. The reference is a float32 copy of the model. Images are raw
    pixels 0..255, and neither of training nor of calibration.
    """
    # First, since an interpreter does not even open a file with operators that it does not have.
    if parts := forbidden_parts(content, mode):
        raise VerificationError(f"The file is not a whole {mode.name} file: {'; '.join(parts)}.")
    lite = LiteModel(content, signature)
    (seconds,) = timed_rounds({lite.signature: lite}, WARM_UP + TIMED, random.Random(0)).values()
    verification = Verification(
        **compare(lite(images), float32_logits(subnet, images), labels),
        milliseconds_per_image=1000 * float(np.median(seconds[WARM_UP:])),
        size_bytes=len(content),
    )
    if failures := excesses(verification, mode.tolerance):
        advice = ' What helps is in export/README.md, "When int8 costs accuracy".' if mode.needs_calibration else ""
        raise VerificationError(
            f"The {mode.name} file ({lite.signature}) does not do what its Keras model does. "
            f"On {len(images)} images {'; '.join(failures)}.{advice}"
        )
    return verification


def compare(logits, reference, labels):
    """The numbers of a `Verification` from a file's logits, the Keras model's, and labels."""
    errors = np.abs(logits - reference).max(-1)
    classes, reference_classes = logits.argmax(-1), reference.argmax(-1)
    margins = reference.max(-1) - np.take_along_axis(reference, classes[:, np.newaxis], -1)[:, 0]
    return {
        "num_images": len(labels),
        "max_abs_error": float(errors.max()),
        "p90_abs_error": float(np.quantile(errors, 0.9, method="lower")),
        "max_abs_logit": float(np.abs(reference).max()),
        "argmax_agreement": float(np.mean(classes == reference_classes)),
        "clear_disagreement": float(np.mean(margins > NEAR_TIE * np.ptp(reference))),
        "accuracy": float(np.mean(classes == labels)),
        "keras_accuracy": float(np.mean(reference_classes == labels)),
    }


def forbidden_parts(content, mode):
    """What a file of this mode must not hold but does: a list of clauses."""
    custom = [name for name in operators(content) if name.startswith("CUSTOM")]
    outer, inner = map(set, tensor_types(content))
    inner = inner - mode.tensor_types if mode.tensor_types else ()
    outer -= {mode.io_dtype.upper()}
    return [
        *([f"it needs {', '.join(custom)}"] if custom else []),
        *([f"it holds tensors of the types {', '.join(sorted(inner))}"] if inner else []),
        *([f"its input or output is {', '.join(sorted(outer))}"] if outer else []),
    ]


def excesses(verification, tolerance):
    """The bounds that a `Verification` exceeds: a list of clauses."""
    allowance = tolerance.allowance(verification.num_images)
    disagreement = 1 - tolerance.min_agreement + allowance
    drop = verification.keras_accuracy - verification.accuracy
    scale = max(1.0, verification.max_abs_logit)
    checks = (
        ("a logit differs by", verification.max_abs_error, tolerance.max_error * scale),
        ("a tenth of the images have a logit that differs by", verification.p90_abs_error, tolerance.p90_error * scale),
        ("the fraction of clearly other classes is", verification.clear_disagreement, disagreement),
        ("the accuracy drops by", drop, tolerance.max_accuracy_drop + allowance),
    )
    # NaN fails too.
    return [f"{what} {value:.3g}, allowed is {limit:.3g}" for what, value, limit in checks if not value <= limit]
