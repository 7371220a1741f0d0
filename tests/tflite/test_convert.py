"""Conversion: signature, number types, operators, dtype policies, and one sentence for every mistake."""

import os
import subprocess
import sys
import threading
import warnings

import keras
import numpy as np
import pytest
from small_networks import converted, held_out, mixed_net, residual_net, trained_net, training

from ddnn_keras import DDNN
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.quiet import hushed
from ddnn_keras.runtime.tflite_file import custom_operators, operators, parse, tensor_types
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.model_copies import float32_logits, in_float32
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import verify


@pytest.mark.parametrize("quantize", MODES)
def test_a_file_is_called_by_names(quantize):
    lite = LiteModel(converted(quantize))
    dtype = MODES[quantize].io_dtypes[0]
    assert lite.signature == "serving_default"
    assert (lite.input.name, lite.input.shape, lite.input.dtype) == ("image", (1, 16, 16, 1), dtype)
    assert (lite.output.name, lite.output.shape, lite.output.dtype) == ("logits", (1, 10), dtype)


@pytest.mark.parametrize("quantize", MODES)
def test_builtin_operators_alone(quantize):
    content = converted(quantize)
    assert {"CONV_2D", "FULLY_CONNECTED"} < set(operators(content))
    assert custom_operators(content) == []


@pytest.mark.parametrize(
    ("quantize", "io_dtype", "inner"),
    [
        ("int8", "int8", ["INT32", "INT8"]),
        ("int8", "uint8", ["INT32", "INT8"]),
        ("int8", "float32", ["INT32", "INT8"]),
        ("int16x8", "float32", ["INT16", "INT32", "INT64", "INT8"]),
        ("int16x8", "int16", ["INT16", "INT32", "INT64", "INT8"]),
        ("dynamic", "float32", ["FLOAT32", "INT32", "INT8"]),
    ],
)
def test_integers_between_input_and_output(quantize, io_dtype, inner):
    content = convert(trained_net(), quantize, training()[0][:100], io_dtype=io_dtype)
    assert tensor_types(content) == ([io_dtype.upper()], inner)
    assert verify(content, trained_net(), *held_out(), quantize, io_dtype=io_dtype).passed


def test_a_camera_s_byte_is_taken_as_it_is():
    image = LiteModel(convert(trained_net(), "int8", training()[0][:100], io_dtype="uint8")).input
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", 1.0, 0)


def test_quantization_makes_files_smaller():
    # Not by much: what describes so small a network is as large as its weights.
    sizes = {quantize: len(converted(quantize)) for quantize in ("none", "float16", "dynamic", "int8")}
    assert sizes["int8"] < sizes["dynamic"] < sizes["float16"] < sizes["none"]


def test_an_int8_image_is_a_byte_minus_128():
    narrow = np.clip(training()[0][:8], 50, 60)
    image = LiteModel(convert(residual_net(), "int8", narrow)).input
    assert (image.scale, image.zero_point) == (1.0, -128)
    assert image.encode([0, 1, 255]).tolist() == [-128, -127, 127]


def test_the_signature_has_the_name_that_is_asked_for():
    assert LiteModel(convert(residual_net(), signature="depth_18")).signature == "depth_18"


def test_the_subnet_is_left_as_it_was():
    model = residual_net(dtype="mixed_bfloat16")
    weights = model.get_weights()
    convert(model)
    assert model.layers[2].compute_dtype == "bfloat16"
    assert all(np.array_equal(before, after) for before, after in zip(weights, model.get_weights()))


def test_a_mixed_precision_model_is_converted_in_float32():
    model, (images, _) = mixed_net(), held_out()
    content, reference = convert(model), float32_logits(model, images)
    lite = LiteModel(content)(images)
    assert tensor_types(content) == (["FLOAT32"], ["FLOAT32", "INT32"])
    assert np.abs(lite - reference).max() < 1e-4 * np.abs(reference).max()
    # Its own outputs are less exact than that: float32 is not what it computed anyway.
    assert np.abs(model.predict(images, verbose=0) - reference).max() > 1e-3 * np.abs(reference).max()


def test_float32_reaches_nested_models_and_plain_operations():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    layer = keras.layers.Conv2D(2, 3, padding="same", dtype="mixed_float16")
    nested = keras.Model(image, layer(image))
    model = keras.Model(image, keras.ops.relu(nested(image) * 2.0 + nested(image)))
    copy = in_float32(model)
    pixels = np.ones((1, 4, 4, 1), "float32")
    assert copy.output.dtype == "float32"
    np.testing.assert_allclose(copy(pixels), model(pixels), rtol=1e-2)


def vector_net():
    vector = keras.Input((8,))
    return keras.Model(vector, keras.layers.Dense(2)(vector))


def sizeless_net():
    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(image)))


def two_headed_net():
    image = keras.Input((4, 4, 1))
    x = keras.layers.Flatten()(image)
    return keras.Model(image, {"a": keras.layers.Dense(2)(x), "b": keras.layers.Dense(2)(x)})


class Subclassed(keras.Model):
    pass


@pytest.mark.parametrize("make", [vector_net, sizeless_net, two_headed_net, Subclassed, lambda: "resnet"])
def test_what_is_no_subnet_is_refused(make):
    with pytest.raises(ValueError, match=r"^`subnet` must be a functional keras\.Model with one input .* Received: "):
        convert(make())


@pytest.mark.parametrize("quantize", ["int4", "", None, ["int8"]])
def test_an_unknown_mode_is_refused(quantize):
    with pytest.raises(
        ValueError, match=r"^`quantize` must be one of 'none', 'float16', 'dynamic', 'int8', 'int16x8'\. Received"
    ):
        convert(residual_net(), quantize)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (None, r"`calibration_images` must be given for quantize='int8'"),
        (
            np.zeros((4, 8, 8, 1)),
            r"`calibration_images` must have the shape \(at least 1, 16, 16, 1\)\. Received: \(4",
        ),
        (np.zeros((16, 16, 1)), r"`calibration_images` must have the shape"),
        (np.zeros((0, 16, 16, 1)), r"`calibration_images` must have the shape .* Received: \(0, 16, 16, 1\)"),
        (7, r"`calibration_images` must have the shape .* Received: \(\)"),
        (np.full((1, 16, 16, 1), -1), r"`calibration_images` must be raw pixels from 0 to 255\. Received: .* -1\.0"),
        (np.ones((9, 16, 16, 1)), r"`calibration_images` must be raw pixels from 0 to 255, not scaled to 0\.\.1\. Rec"),
        (np.full((1, 16, 16, 1), np.nan), r"`calibration_images` must be raw pixels from 0 to 255\. Received: .* nan"),
    ],
)
def test_wrong_calibration_images_are_refused(images, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        convert(residual_net(), "int8", images)


def test_what_builtin_operators_cannot_compute_is_refused(capfd):
    image = keras.Input((4, 4, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sinh(image))
    subnet = keras.Model(image, keras.layers.Dense(2)(x))
    capfd.readouterr()  # a process' first network has TensorFlow look for a GPU
    with pytest.raises(ValueError, match=r"^`subnet` must be made of what TFLite's builtin .* needs Sinh$"):
        convert(subnet)
    assert capfd.readouterr().err == ""


def test_the_converter_is_silent(capfd):
    subnet = residual_net()
    capfd.readouterr()  # a process' first network has TensorFlow look for a GPU
    convert(subnet, "int8", training()[0][:4])
    assert capfd.readouterr() == ("", "")


def test_a_bug_shows_the_log(capfd):
    with pytest.raises(RuntimeError), hushed():
        os.write(2, b"the last words\n")
        raise RuntimeError
    assert capfd.readouterr().err == "the last words\n"


def test_whoever_asks_for_tensorflows_log_gets_it(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with hushed():
        os.write(2, b"I0000\n")
    assert capfd.readouterr().err == "I0000\n"


def test_one_graph_and_one_signature_in_a_file():
    tree = parse(converted("none"))
    assert [signature.signatureKey for signature in tree.signatureDefs] == [b"serving_default"]
    assert len(tree.subgraphs) == 1


def test_another_backend_is_refused(tmp_path):
    program = """
import keras
from ddnn_keras.tflite.convert import convert
image = keras.Input((4, 4, 1))
try:
    convert(keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image))))
except ValueError as error:
    print(error)
"""
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == (
        "TFLite export needs the TensorFlow backend: set KERAS_BACKEND=tensorflow. Received: backend 'numpy'\n"
    )


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_float16"])
def test_kernels_of_pieces_are_converted_in_float32(policy):
    keras.utils.set_random_seed(0)
    model = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 1, 1)}, "densenet", width=4, input_shape=(16, 16, 1), dtype=policy)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1)).astype("float32")
    logits = float32_logits(model.subnet("a"), images)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, model.subnet("a").predict(images, verbose=0), atol=0.05 * np.abs(logits).max())


def test_two_threads_leave_standard_error_and_warnings_as_they_were(capfd):
    before, first_is_in, second_is_in = list(warnings.filters), threading.Event(), threading.Event()

    def first():
        with hushed():
            first_is_in.set()
            second_is_in.wait(0.5)  # which it cannot be before this one ends

    def second():
        first_is_in.wait()
        with hushed():
            second_is_in.set()
            threads[0].join()

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
    assert warnings.filters == before
