"""Running files: raw pixels in, logits out, and one sentence for a file that is none."""

import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_networks import converted, held_out, trained_net

import ddnn_keras
from ddnn_keras.runtime import tflite_file
from ddnn_keras.runtime.interpreter import LiteModel, Tensor, lite_models
from ddnn_keras.tflite.modes import MODES


@pytest.mark.parametrize("quantize", MODES)
def test_logits_are_those_of_the_keras_model(quantize):
    images, _ = held_out(64)
    reference = trained_net().predict(images, verbose=0)
    logits = LiteModel(converted(quantize))(images)
    assert (logits.shape, logits.dtype) == ((64, 10), np.float32)
    assert np.abs(logits - reference).max() < 0.2 * np.abs(reference).max()


def test_a_path_and_bytes_give_the_same(tmp_path):
    path, (images, _) = tmp_path / "net.tflite", held_out(4)
    path.write_bytes(converted("int8"))
    expected = LiteModel(converted("int8"))(images)
    assert np.array_equal(LiteModel(path)(images), expected)
    assert np.array_equal(LiteModel(str(path), "serving_default", num_threads=2)(images.astype("uint8")), expected)


def test_quantized_numbers_saturate():
    tensor = Tensor("logits", (1, 3), "int8", scale=0.5, zero_point=10)
    assert tensor.encode([-1000, 0.26, 1000]).tolist() == [-128, 11, 127]
    assert tensor.decode(np.array([-128, 11, 127], "int8")).tolist() == [-69.0, 0.5, 58.5]


@pytest.mark.parametrize("shape", [(16, 16, 1), (1, 8, 16, 1), (0, 16, 16, 1)])
def test_images_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"^`images` must have the shape \(at least 1, 16, 16, 1\)\. Received: \("):
        LiteModel(converted("none"))(np.zeros(shape))


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^`model` must be an existing file\. Received: '.*gone\.tflite'$"):
        LiteModel(tmp_path / "gone.tflite")


@pytest.mark.parametrize("keep", [0, 3, 20, 3000, -1])
def test_a_broken_file(tmp_path, keep):
    path = tmp_path / "broken.tflite"
    path.write_bytes(converted("none")[:keep])
    for model in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=r"^`model` must be a whole TFLite file of oper.*\. Received: [^\n]*$"):
            LiteModel(model)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "picture.tflite"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" * 100)
    with pytest.raises(ValueError, match=r"^`model` must be a whole TFLite file of .*\. Received: '.*picture\.tflite'"):
        LiteModel(path)


def test_what_is_no_model():
    with pytest.raises(ValueError, match=r"^`model` must be a path or bytes\. Received: 3$"):
        LiteModel(3)


def test_an_unknown_signature():
    with pytest.raises(ValueError, match=r"^`signature` must be one of the file's, 'serving_default'\. Received: "):
        LiteModel(converted("none"), signature="a")


def test_a_file_without_signatures():
    tree = tflite_file.parse(converted("none"))
    tree.signatureDefs = None
    for opened in (LiteModel, lite_models):
        with pytest.raises(ValueError, match=r"^`model` must be a TFLite file with signatures\. Received: \d+ bytes"):
            opened(tflite_file.serialize(tree))


def test_an_operator_that_the_interpreter_does_not_have():
    tree = tflite_file.parse(converted("none"))
    code = tree.operatorCodes[0]
    custom = schema.BuiltinOperator.CUSTOM
    code.builtinCode, code.deprecatedBuiltinCode, code.customCode = custom, custom, "FlexErf"
    with pytest.raises(ValueError, match=r"^`model` must be a whole TFLite file of operators .*FlexErf"):
        LiteModel(tflite_file.serialize(tree))


@pytest.mark.parametrize("num_threads", [0, -1, 1.5, "2"])
def test_a_wrong_number_of_threads(num_threads):
    with pytest.raises(ValueError, match=r"^`num_threads` must be a positive integer\. Received"):
        LiteModel(converted("none"), num_threads=num_threads)


def test_tensorflow_is_not_needed(tmp_path):
    # The package itself imports Keras; what a device uses of it, by file, must not.
    program = """
import sys, types
package = types.ModuleType("ddnn_keras")
package.__path__ = sys.argv[1:]
sys.modules["ddnn_keras"] = package
import ddnn_keras.runtime.interpreter, ddnn_keras.runtime.metadata, ddnn_keras.runtime.tflite_file
print(sorted({"tensorflow", "keras"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program, *ddnn_keras.__path__]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
