import concurrent.futures
import os
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from small_networks import converted, held_out, mixed_net, tiny_net, trained_net, training, untrained_ddnn

from ddnn_keras import DDNN
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.quiet import hushed
from ddnn_keras.runtime.tflite_file import operators, parse, tensor_types
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.model_copies import float32_logits, in_float32
from ddnn_keras.tflite.modes import MODES, mode_named
from ddnn_keras.tflite.verify import verify


@pytest.mark.parametrize(
    ("quantize", "inner"),
    [
        ("none", ["FLOAT32", "INT32"]),
        ("float16", ["FLOAT16", "FLOAT32", "INT32"]),
        ("dynamic", ["FLOAT32", "INT32", "INT8"]),
        ("int8", ["INT32", "INT8"]),
        ("int16x8", ["INT16", "INT32", "INT64", "INT8"]),
    ],
)
def test_a_file_is_called_by_names_and_has_builtin_operators_alone(quantize, inner):
    content = converted(quantize)
    lite, dtype = LiteModel(content), MODES[quantize].io_dtype
    assert lite.signature == "serving_default"
    assert (lite.input.name, lite.input.shape, lite.input.dtype) == ("image", (1, 16, 16, 1), dtype)
    assert (lite.output.name, lite.output.shape, lite.output.dtype) == ("logits", (1, 10), dtype)
    assert {"CONV_2D", "FULLY_CONNECTED"} < set(operators(content)) and "MAX_POOL_2D" not in operators(content)
    assert not any(name.startswith("CUSTOM") for name in operators(content))
    assert tensor_types(content) == ([dtype.upper()], inner)
    assert [signature.signatureKey for signature in parse(content).signatureDefs] == [b"serving_default"]


@pytest.mark.parametrize(("quantize", "io_dtype"), [("int8", "uint8"), ("int8", "float32"), ("int16x8", "int16")])
def test_input_and_output_of_another_type(quantize, io_dtype):
    content = converted(quantize, io_dtype=io_dtype)
    verify(content, trained_net(), *held_out(), mode_named(quantize, io_dtype))  # with the types within, too
    assert tensor_types(content)[0] == [io_dtype.upper()]
    if io_dtype == "uint8":  # a camera's byte as it is
        assert (LiteModel(content).input.scale, LiteModel(content).input.zero_point) == (1.0, 0)


def test_an_int8_image_is_a_byte_minus_128_and_the_converter_is_silent(capfd):
    subnet = tiny_net()
    capfd.readouterr()  # a process' first network has TensorFlow look for a GPU
    image = LiteModel(convert(subnet, MODES["int8"], np.clip(training()[0][:8], 50, 60))).input
    assert capfd.readouterr() == ("", "")
    assert (image.scale, image.zero_point) == (1.0, -128)
    assert image.encode([0, 1, 255]).tolist() == [-128, -127, 127]


def test_a_mixed_precision_model_is_converted_in_float32_and_left_as_it_was():
    model, (images, _) = mixed_net(), held_out()
    weights = model.get_weights()
    content, reference = convert(model, signature="depth_8"), float32_logits(model, images)
    assert LiteModel(content).signature == "depth_8"
    assert tensor_types(content) == (["FLOAT32"], ["FLOAT32", "INT32"])
    assert verify(content, model, *held_out(), signature="depth_8").max_abs_error < 1e-4
    # Its own outputs are less exact than that: float32 is not what it computed anyway.
    assert np.abs(model.predict(images, verbose=0) - reference).max() > 1e-3 * np.abs(reference).max()
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert all(np.array_equal(before, after) for before, after in zip(weights, model.get_weights()))


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


def sizeless_net():
    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(image)))


@pytest.mark.parametrize("make", [sizeless_net, untrained_ddnn, keras.Model])
def test_what_is_no_subnet_is_refused(make):
    with pytest.raises(ValueError, match=r"^`subnet` must be a functional keras\.Model with one input .* Received: "):
        convert(make())


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (None, r"`calibration_images` must be an array of images\. Received: NoneType"),
        (np.zeros((4, 8, 8, 1)), r"`calibration_images` must have the shape .* Received: \(4, 8"),
        (np.zeros((0, 16, 16, 1)), r"`calibration_images` must have the shape .* Received: \(0, 16, 16, 1\)"),
        (np.full((1, 16, 16, 1), -1), r"`calibration_images` must be raw pixels from 0 to 255\. Received: .* -1\.0"),
        (np.ones((9, 16, 16, 1)), r"`calibration_images` must be raw pixels from 0 to 255, not scaled to 0\.\.1\. Rec"),
    ],
)
def test_wrong_calibration_images_are_refused(images, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        convert(trained_net(), MODES["int8"], images)


def test_what_builtin_operators_cannot_compute_is_refused():
    image = keras.Input((4, 4, 1))
    x = keras.layers.GlobalAveragePooling2D()(keras.ops.sinh(image))
    subnet = keras.Model(image, keras.layers.Dense(2)(x))
    with pytest.raises(ValueError, match=r"^`subnet` must consist of TFLite's builtin .* needs Sinh$"):
        convert(subnet)


def test_whoever_asks_for_tensorflows_log_gets_it(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with hushed():
        os.write(2, b"I0000\n")
    assert capfd.readouterr().err == "I0000\n"


def test_two_threads_leave_standard_error_as_it_was(capfd):
    def hush(_):
        with hushed():
            time.sleep(0.01)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(hush, range(32)))
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


def test_a_process_without_standard_streams(tmp_path):
    code = "import pathlib, ddnn_keras.runtime.quiet as q\nwith q.hushed(): pathlib.Path('ran').touch()"
    subprocess.run(["bash", "-c", 'exec "$0" -c "$1" 0>&- 1>&- 2>&-', sys.executable, code], cwd=tmp_path, check=True)
    assert (tmp_path / "ran").exists()


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match=r"set KERAS_BACKEND=tensorflow\. Received: backend 'jax'$"):
        convert(tiny_net())


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_kernels_of_pieces_are_converted_in_float32(policy):
    keras.utils.set_random_seed(0)
    model = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 1, 1)}, "densenet", width=4, input_shape=(16, 16, 1), dtype=policy)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 1)).astype("float32")
    logits = float32_logits(model.subnet("a"), images)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, model.subnet("a").predict(images, verbose=0), atol=0.05 * np.abs(logits).max())
