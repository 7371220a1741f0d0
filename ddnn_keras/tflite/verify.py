"""A file is checked against the Keras model that it was made of."""

import dataclasses
import pathlib
import time

import numpy as np

from ddnn_keras.pixels import checked_labels, checked_raw_images
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import content_of, custom_operators, description, tensor_types
from ddnn_keras.tflite.convert import image_shape
from ddnn_keras.tflite.model_copies import float32_logits
from ddnn_keras.tflite.modes import FORBIDDEN_TENSOR_TYPES, mode_named

# Of the range of all logits. An integer file's come in steps of 1/255 of it: five of them.
NEAR_TIE = 0.02

WARM_UP, TIMED = 5, 30  # invocations: the first ones allocate and fill caches


@dataclasses.dataclass(frozen=True)
class Verification:
    """How a file compares with its Keras model.

    Args:
        num_images: Number of images compared.
        max_abs_error: Largest difference of a logit.
        p90_abs_error: The 90th percentile of the images' largest differences: what nine of ten images stay within.
        max_abs_logit: Largest absolute logit of the Keras model, to compare that with.
        argmax_agreement: Fraction of images on which both give the same class.
        clear_disagreement: Fraction of images on which the file gives another class, and that is no near-tie: the Keras
            model's logits of both classes are more than `NEAR_TIE` of the range of all its logits apart.
        accuracy: The file's accuracy, as a fraction.
        keras_accuracy: The Keras model's, in float32.
        milliseconds_per_image: Median time of one invocation on one thread of this machine.
        size_bytes: The file's size.
        failures: What the file fails in, one clause each; empty if it passes.
    """

    num_images: int
    max_abs_error: float
    p90_abs_error: float
    max_abs_logit: float
    argmax_agreement: float
    clear_disagreement: float
    accuracy: float
    keras_accuracy: float
    milliseconds_per_image: float
    size_bytes: int
    failures: tuple = ()

    @property
    def passed(self):
        """Whether nothing failed."""
        return not self.failures


class VerificationError(ValueError):
    """A file does not do what its Keras model does.

    `verification` has the numbers, or is `None` if the file was refused before it ran.
    """

    def __init__(self, message, verification=None):
        super().__init__(message)
        self.verification = verification


def verify(model, subnet, images, labels, quantize="none", signature=None, io_dtype=None):
    """Compares a file with the Keras model that it was made of, and raises if they differ by too much.

    In every mode the file must consist of builtin operators and hold its weights as constants; `"int8"` and
    `"int16x8"` must hold integers alone between input and output. How much the outputs may differ stands in
    `ddnn_keras.tflite.modes`: int8, for one, must give the same class on 0.9 of the images, or a nearly tied one, and
    lose 0.02 of the accuracy at most, and on nine of ten images no logit may be off by more than 0.15 of the largest
    one. Both fractions are widened by `2 * sqrt((1 - min_agreement) / n)`, two standard errors, for what a sample of n
    images shows by chance: 0.02 for int8 with 1,000 images, 0.14 with 20.

    Args:
        model: The path of a `.tflite` file, or its bytes.
        subnet: The `keras.Model`, of any dtype policy; its float32 copy is the reference.
        images: Raw pixels 0..255 of shape `(n, height, width, channels)` that were used neither in training nor in
            calibration.
        labels: n class indices.
        quantize: The mode in which `model` was converted, see `convert`. Defaults to `"none"`.
        signature: The signature to run. Defaults to the file's only one.
        io_dtype: The dtype that input and output must have, see `convert`. Defaults to the mode's.

    Returns:
        A `Verification`.

    Raises:
        VerificationError: If a check fails.
        FileNotFoundError: If there is no such file.
        ValueError: If an argument is not as above.
    """
    mode, images, labels = checked_arguments(subnet, images, labels, quantize)
    io_dtype = mode.checked_io_dtype(io_dtype)
    content = content_of(model)
    # The file's name without its folder, which may be a temporary one.
    name = description(model if isinstance(model, bytes) else pathlib.Path(model).name)
    # First, since an interpreter cannot even start what needs operators that it does not have.
    if parts := forbidden_parts(content, mode, io_dtype):
        raise VerificationError(f"`model` must be a {quantize!r} file. Received: {name}, and {'; '.join(parts)}")
    lite = LiteModel(content, signature)
    verification = Verification(
        **compare(lite(images), float32_logits(subnet, images), labels),
        milliseconds_per_image=milliseconds_per_image(lite, images[0]),
        size_bytes=len(content),
    )
    if failures := excesses(verification, mode.tolerance):
        raise VerificationError(
            f"`model` must do what `subnet` does, within the bounds of {quantize!r}. "
            f"Received: {name}, of which {len(images)} images show: {'; '.join(failures)}",
            dataclasses.replace(verification, failures=tuple(failures)),
        )
    return verification


def checked_arguments(subnet, images, labels, quantize):
    """The `Mode`, float32 images and integer labels that `verify` works with, or its `ValueError`."""
    images = checked_raw_images("images", images, image_shape(subnet))
    return mode_named(quantize), images, checked_labels(labels, len(images), subnet.output_shape[-1])


def compare(logits, reference, labels):
    """The numbers of a `Verification` that two arrays of logits, shape `(n, classes)`, and labels give."""
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


def forbidden_parts(content, mode, io_dtype):
    """What a file must not hold: a list of clauses, empty if all is well."""
    custom = custom_operators(content)
    outer, inner = map(set, tensor_types(content))
    inner = inner & FORBIDDEN_TENSOR_TYPES if mode.tensor_types is None else inner - mode.tensor_types
    outer -= {io_dtype.upper()}
    return [
        *([f"it needs {', '.join(custom)}"] if custom else []),
        *([f"it holds tensors of the types {', '.join(sorted(inner))}"] if inner else []),
        *([f"its input or output is {', '.join(sorted(outer))}"] if outer else []),
    ]


def excesses(verification, tolerance):
    """Which bounds a `Verification` exceeds: a list of clauses, empty if none."""
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
    # So written, NaN fails too.
    return [f"{what} {value:.3g}, allowed is {limit:.3g}" for what, value, limit in checks if not value <= limit]


def milliseconds_per_image(lite, image):
    """Median time of one invocation, in milliseconds, after a warm-up."""
    image = lite.input.encode(image[np.newaxis])
    seconds = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        lite.invoke(image)
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[WARM_UP:]))
