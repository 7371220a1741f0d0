"""The quantization modes: what each asks of the converter, and how far its file may be from the Keras model.

A new precision is a new row of `MODES`. `export/README.md` has the bounds, `recipes/results/choices` measured errors.
"""

import dataclasses
import math

INTEGERS = frozenset({"INT8", "INT32"})
INTEGERS_16 = INTEGERS | {"INT16", "INT64"}


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from its Keras model. Errors of logits are relative to the largest logit, or to 1."""

    # Of a logit on nine of ten images. A single image may have a larger one: close to the border of two classes, or
    # where an integer activation is cut off.
    p90_error: float
    min_agreement: float  # the fraction of images with the same class; near-ties count as the same class
    max_accuracy_drop: float  # as a fraction
    max_error: float = math.inf  # of a logit on all images

    def allowance(self, num_images):
        """What both fractions may exceed by chance on so many images: two standard errors."""
        return 2 * math.sqrt((1 - self.min_agreement) / num_images)


@dataclasses.dataclass(frozen=True)
class Mode:
    """One row of `MODES`."""

    name: str  # as in `--quantize`
    tolerance: Tolerance
    optimized: bool = True  # whether the converter gets `tf.lite.Optimize.DEFAULT`, which makes files smaller
    supported_types: tuple = ()  # of weights, names of TensorFlow's types; by default the converter chooses
    supported_ops: str | None = None  # a name of `tf.lite.OpsSet`; by default all builtin ones
    needs_calibration: bool = False  # whether the ranges of activations must be measured on images
    tensor_types: frozenset | None = None  # between input and output; by default all
    io_dtypes: tuple = ("float32",)  # of input and output, the default first
    # Replaces smaller scales of batch normalisation where depths share weights. Its effect is below the mode's
    # rounding. With a much smaller one, weights or biases would overflow.
    smallest_scale: float = 1e-3
    kept: tuple = ()  # layers of an int8 file that compute in float32

    @property
    def io_dtype(self):
        """The type of input and output."""
        return self.io_dtypes[0]


MODES = {
    mode.name: mode
    for mode in (
        Mode(
            "none",
            # A logit of 10 may differ by 1e-4.
            Tolerance(p90_error=1e-5, min_agreement=0.99, max_accuracy_drop=0.0, max_error=1e-5),
            optimized=False,
            smallest_scale=1e-6,
        ),
        Mode(
            "float16",
            Tolerance(p90_error=0.02, min_agreement=0.99, max_accuracy_drop=0.005, max_error=0.1),
            supported_types=("float16",),
        ),
        Mode("dynamic", Tolerance(p90_error=0.1, min_agreement=0.95, max_accuracy_drop=0.02, max_error=0.1)),
        Mode(
            "int8",
            Tolerance(p90_error=0.15, min_agreement=0.9, max_accuracy_drop=0.02),
            supported_ops="TFLITE_BUILTINS_INT8",
            needs_calibration=True,
            tensor_types=INTEGERS,
            io_dtypes=("int8", "uint8", "float32"),
        ),
        Mode(
            "int16x8",
            Tolerance(p90_error=0.1, min_agreement=0.95, max_accuracy_drop=0.02),
            supported_ops="EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
            needs_calibration=True,
            tensor_types=INTEGERS_16,
            io_dtypes=("float32", "int16"),
        ),
    )
}


def mode_named(quantize, io_dtype=None, kept=()):
    """The row of `MODES` called `quantize`, with one type of input and output, by default its first, and `kept`."""
    if quantize not in MODES:
        raise ValueError(f"`quantize` must be one of {', '.join(MODES)}. Received: {quantize!r}")
    mode = MODES[quantize]
    io_dtype = io_dtype or mode.io_dtype
    if io_dtype not in mode.io_dtypes:
        raise ValueError(f"`io_dtype` must be {' or '.join(mode.io_dtypes)} with {quantize}. Received: {io_dtype!r}")
    if kept and quantize != "int8":
        raise ValueError(f"`keep` must go with int8. Received: keep={', '.join(kept)} with {quantize}")
    if kept and io_dtype == "uint8":
        raise ValueError("`io_dtype` must be int8 or float32 with `keep`. Received: 'uint8'")
    tensor_types = mode.tensor_types | {"FLOAT32"} if kept else mode.tensor_types
    return dataclasses.replace(mode, io_dtypes=(io_dtype,), kept=tuple(kept), tensor_types=tensor_types)
