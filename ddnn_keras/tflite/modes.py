"""The quantization modes as data: what each asks of the converter, and how exact its file must be.

A new precision is a new row of `MODES`.

How exact: logit errors relative to the largest logit, of an image its worst. Measured on ResNet-8 to 50, VGG and
MobileNetV2 (of width 8, 10 classes, digits enlarged to 32x32 or 16x16, 4 or 20 epochs, 10..100 % accurate; 27 sub-nets,
360 training or held-out images, 200 calibration images), the worst was

| mode    | 90 % of images | all images | agreement | accuracy drop | why a file differs at all                      |
|---------|----------------|------------|-----------|---------------|------------------------------------------------|
| none    | 6e-7           | 2.8e-6     | 1         | 0             | sums in another order, folded normalisation    |
| float16 | 4.4e-3         | 1.2e-2     | 0.992     | 0.003         | weights have 11 bits of mantissa: 5e-4 each    |
| dynamic | 1.7e-2         | 2.9e-2     | 0.956     | 0.012         | weights, and inputs while multiplied: 8 bits   |
| int8    | 5.2e-2         | 0.75       | 0.48      | 0.019         | all of that, and sums; activations are cut off |
| int16x8 | 3.2e-2         | 0.82       | 0.94      | 0.017         | the same with activations in 256 finer steps   |

Residual networks of 7 to 50 layers on digits, untrained to 98 % accurate, and untrained ResNet-18 and 34 of full width
stayed below it on all images: 1e-6, 2e-3, 2e-2 and (int8) 0.1.

Why 90 % of the images: the worst one shows the network and not the file. In a MobileNetV2 after 4 epochs float16 moves
a single image by 0.7 % of the largest logit and the median one by 0.02 %; pixels that are 0.1 % brighter move it by
1.5 %. In int8 a single cut-off activation does the same. The bounds are the measurements with a margin of 3 or more:
what a wrong padding, epsilon or channel order does is larger still, and so is what another depth says (0.16 to 0.63;
but 0.06 between the two deeper ones of three taught for 96 epochs). All images together are bounded in floats alone, by
three (float16: eight) times what was measured.

The low agreements are those of networks of 14 to 36 % accuracy, where many images are near-ties: two classes whose
logits differ by little. So near-ties do not count: classes that the Keras model found clearly worse were got by 0.006
of the images at most.
"""

import dataclasses
import math

INTEGERS = frozenset({"INT8", "INT32"})
INTEGERS_16 = INTEGERS | {"INT16", "INT64"}

# A variable that was not made a constant: the file holds its handle instead of its numbers.
FORBIDDEN_TENSOR_TYPES = frozenset({"RESOURCE"})


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """How far a file may be from the Keras model it was made of.

    Args:
        p90_error: Largest allowed difference of a logit on nine of ten images, relative to the largest logit (or to 1
            if that is smaller).
        min_agreement: Smallest allowed fraction of images on which both give the same class, or nearly tied ones.
        max_accuracy_drop: Largest allowed loss of accuracy, as a fraction.
        max_error: As `p90_error`, on all images.
    """

    p90_error: float
    min_agreement: float
    max_accuracy_drop: float
    max_error: float = math.inf

    def allowance(self, num_images):
        """What a sample of `num_images` may add to both fractions by chance: two standard errors."""
        return 2 * math.sqrt((1 - self.min_agreement) / num_images)


@dataclasses.dataclass(frozen=True)
class Mode:
    """One row of `MODES`.

    Args:
        tolerance: A `Tolerance`.
        optimized: Whether `tf.lite.Optimize.DEFAULT` is asked of the converter, which makes files smaller.
        supported_types: The number types of weights, if the converter is not to choose: names of TensorFlow's.
        supported_ops: The operators to convert to, if not all builtin ones: a name of `tf.lite.OpsSet`.
        needs_calibration: Whether the ranges of activations must be measured on images.
        tensor_types: The only types that tensors between input and output may have, names of the schema's
            `TensorType`, or `None` for all but `FORBIDDEN_TENSOR_TYPES`.
        io_dtypes: What input and output may be, the default first.
        smallest_scale: What stands for a scale of 0 in batch normalisation where depths share weights. Its effect is
            below the rounding of the mode; much smaller, and weights or biases would leave the range of its numbers.
    """

    tolerance: Tolerance
    optimized: bool = True
    supported_types: tuple = ()
    supported_ops: str | None = None
    needs_calibration: bool = False
    tensor_types: frozenset | None = None
    io_dtypes: tuple = ("float32",)
    smallest_scale: float = 1e-3

    def checked_io_dtype(self, io_dtype):
        """`io_dtype`, or the default for `None`.

        Raises:
            ValueError: If files of this mode cannot have it.
        """
        if io_dtype is not None and io_dtype not in self.io_dtypes:
            raise ValueError(
                f"`io_dtype` must be one of {', '.join(map(repr, self.io_dtypes))} in this mode. "
                f"Received: io_dtype={io_dtype!r}"
            )
        return io_dtype or self.io_dtypes[0]


MODES = {
    "none": Mode(
        # A logit of 10 may differ by 1e-4.
        tolerance=Tolerance(p90_error=1e-5, min_agreement=0.99, max_accuracy_drop=0.0, max_error=1e-5),
        optimized=False,
        smallest_scale=1e-6,
    ),
    "float16": Mode(
        tolerance=Tolerance(p90_error=0.02, min_agreement=0.99, max_accuracy_drop=0.005, max_error=0.1),
        supported_types=("float16",),
    ),
    "dynamic": Mode(
        tolerance=Tolerance(p90_error=0.1, min_agreement=0.95, max_accuracy_drop=0.02, max_error=0.1),
    ),
    "int8": Mode(
        tolerance=Tolerance(p90_error=0.15, min_agreement=0.9, max_accuracy_drop=0.02),
        supported_ops="TFLITE_BUILTINS_INT8",
        needs_calibration=True,
        tensor_types=INTEGERS,
        io_dtypes=("int8", "uint8", "float32"),
    ),
    "int16x8": Mode(
        tolerance=Tolerance(p90_error=0.1, min_agreement=0.95, max_accuracy_drop=0.02),
        supported_ops="EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        needs_calibration=True,
        tensor_types=INTEGERS_16,
        io_dtypes=("float32", "int16"),
    ),
}


def mode_named(quantize):
    """The row of `MODES` called `quantize`.

    Raises:
        ValueError: If there is none.

    Example:
    >>> mode_named("int8").needs_calibration
    True
    """
    if not isinstance(quantize, str) or quantize not in MODES:
        raise ValueError(f"`quantize` must be one of {', '.join(map(repr, MODES))}. Received: quantize={quantize!r}")
    return MODES[quantize]
