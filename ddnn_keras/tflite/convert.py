"""A sub-net becomes the bytes of a `.tflite` file."""

import contextlib
import re
import tempfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from ddnn_keras.pixels import checked_raw_images
from ddnn_keras.quantization_aware import is_quantization_aware
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE
from ddnn_keras.runtime.quiet import hushed
from ddnn_keras.runtime.tflite_file import parse
from ddnn_keras.tflite.bias_correction import with_corrected_biases
from ddnn_keras.tflite.layer_names import MARK, OUTPUT, named_operators
from ddnn_keras.tflite.model_copies import in_float32, with_strides
from ddnn_keras.tflite.modes import MODES

INPUT = "image"


def convert(subnet, mode=MODES["none"], calibration_images=None, signature=DEFAULT_SIGNATURE):
    """Converts a sub-net to a TFLite flatbuffer of builtin operators.

    The file is called by its signature: `{"image": (1, height, width, channels)}`, raw pixels, gives
    `{"logits": (1, classes)}`. The batch is a static 1, since a device sees one image at a time. With static shapes an
    interpreter can plan its memory once, and GPU, NPU and microcontroller backends take every operator. The file
    computes in float32 or integers, whatever the sub-net's dtype policy.

    Modes that need calibration measure the range of each activation on `calibration_images`: raw pixels of shape
    `(n, height, width, channels)`. 100 to 500 training images of all classes are usual. Their files' biases are
    corrected, see `bias_correction.py`.
    """
    if mode.kept:
        network = calibrated(subnet, mode, calibration_images, signature)
        return quantized(network, subnet, mode, calibration_images)
    images = checked(subnet, mode, calibration_images)
    with saved(subnet, signature) as folder:
        content = converted(converter(folder, signature, mode, images))
        if not mode.needs_calibration:
            return content
        network = converted(converter(folder, signature, MODES["none"]))
    return with_corrected_biases(content, network, calibration_images)


def calibrated(subnet, mode, calibration_images, signature=DEFAULT_SIGNATURE):
    """A sub-net in float32 with its activations' ranges, as `quantized` takes it."""
    if is_quantization_aware(subnet):
        raise ValueError(
            "`keep` and `max_drop` must not be given for a quantization-aware network: it rounds by itself."
        )
    images = checked(subnet, mode, calibration_images)
    with saved(subnet, signature) as folder:
        configured = converter(folder, signature, mode, images)
        # TensorFlow's QuantizationDebugger does so too. It leaves the types of input and output no choice.
        configured._experimental_calibrate_only = True
        return converted(configured)


def quantized(network, subnet, mode, calibration_images):
    """The int8 file of a `calibrated` network, in which the mode's kept layers stay in float32."""
    tree = parse(network)
    (graph,) = tree.subgraphs
    # What follows a layer and has no weights stays with it. Other depths may have other layers.
    named = named_operators(tree, graph, subnet)
    kept = [operator for name, operator in named.items() if name.split(" ")[0] in mode.kept]
    with hushed():
        content = mlir_quantize(
            network,
            fully_quantize=True,
            input_data_type=tf.as_dtype(mode.io_dtype),
            output_data_type=tf.as_dtype(mode.io_dtype),
            denylisted_nodes=[graph.tensors[operator.outputs[0]].name.decode() for operator in kept],
        )
    return with_corrected_biases(content, network, calibration_images)


def checked(subnet, mode, calibration_images):
    """The images to calibrate on. Raises a `ValueError` unless the sub-net can be converted for this mode."""
    check_backend()
    shape = image_shape(subnet)
    if mode.name != "int8" and is_quantization_aware(subnet):
        raise ValueError(f"`quantize` must be 'int8' for a quantization-aware network. Received: {mode.name!r}")
    if mode.needs_calibration:
        return pin_pixel_range(checked_raw_images("calibration_images", calibration_images, shape))


@contextlib.contextmanager
def saved(subnet, signature):
    """The folder of a sub-net in TensorFlow's own format, with a signature that names its input and its output."""
    with hushed(), tempfile.TemporaryDirectory() as folder:
        model, archive = with_strides(in_float32(subnet), MARK), keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint(
            signature,
            lambda image: {OUTPUT: model(image, training=False)},
            input_signature=[keras.InputSpec(shape=(1, *image_shape(subnet)), dtype="float32", name=INPUT)],
        )
        archive.write_out(folder, verbose=False)
        yield folder


def converter(folder, signature, mode, images=None):
    """TensorFlow's converter of a saved sub-net, with the options for a mode."""
    configured = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[signature])
    configured.optimizations = [tf.lite.Optimize.DEFAULT] if mode.optimized else []
    configured.target_spec.supported_types = [tf.as_dtype(name) for name in mode.supported_types]
    if mode.supported_ops:
        configured.target_spec.supported_ops = [tf.lite.OpsSet[mode.supported_ops]]
    configured.inference_input_type = configured.inference_output_type = tf.as_dtype(mode.io_dtype)
    if mode.needs_calibration:
        configured.representative_dataset = lambda: ((signature, {INPUT: image[np.newaxis]}) for image in images)
    return configured


def check_backend():
    """Raises a `ValueError` unless Keras runs on TensorFlow, whose graphs the converter reads."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "TFLite export needs the TensorFlow backend: set KERAS_BACKEND=tensorflow. "
            f"Received: backend {keras.backend.backend()!r}"
        )


def image_shape(subnet):
    """The `(height, width, channels)` of a sub-net's images. Refuses what is no model from an image to logits."""
    # A subclassed model has no such attributes.
    shapes = getattr(subnet, "input_shape", None), getattr(subnet, "output_shape", None)
    match shapes:
        case ((_, int(height), int(width), int(channels)), (_, int())):
            return height, width, channels
    raise ValueError(
        "`subnet` must be a functional keras.Model with one input of known (batch, height, width, channels) and one "
        f"output (batch, classes). Received: {subnet!r} with the shapes {shapes}"
    )


def pin_pixel_range(images):
    """Adds a copy of the first image with one pixel of 0 and one of 255.

    The input's scale then covers all pixels, also those that no calibration image has. Two pixels of one image hardly
    change the ranges of activations.
    """
    pinned = images[:1].copy()
    corners = pinned.reshape(-1, images.shape[-1])
    corners[0], corners[-1] = 0, 255
    return np.concatenate([images, pinned])


def converted(converter):
    """The file's bytes, or one sentence that names the operations that TFLite's builtin operators lack."""
    try:
        return converter.convert()
    except Exception as error:
        foreign = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", str(error))))
        if not foreign:
            raise
        raise ValueError(
            f"`subnet` must consist of TFLite's builtin operators. Received: one that needs {', '.join(foreign)}"
        ) from error
