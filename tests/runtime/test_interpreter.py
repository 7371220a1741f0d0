"""Running files: raw pixels in, logits out, and one sentence for what is not a whole file."""

import numpy as np
import pytest
from small_networks import converted, held_out

from ddnn_keras.runtime import tflite_file
from ddnn_keras.runtime.accelerators import lite_models
from ddnn_keras.runtime.interpreter import LiteModel, Tensor


def test_a_path_and_bytes_give_the_same(tmp_path):
    path, (images, _) = tmp_path / "net.tflite", held_out(4)
    path.write_bytes(converted("int8"))
    expected = LiteModel(converted("int8"))(images)
    assert (expected.shape, expected.dtype) == ((4, 10), np.float32)
    assert np.array_equal(LiteModel(path)(images), expected)
    assert np.array_equal(LiteModel(str(path), "serving_default", num_threads=2)(images.astype("uint8")), expected)


def test_quantized_numbers_saturate():
    tensor = Tensor("logits", (1, 3), "int8", scale=0.5, zero_point=10)
    assert tensor.encode([-1000, 0.26, 1000]).tolist() == [-128, 11, 127]
    assert tensor.decode(np.array([-128, 11, 127], "int8")).tolist() == [-69.0, 0.5, 58.5]


@pytest.mark.parametrize("content", [b"", 3, 20, 3000, -1, b"\x89PNG" * 99])
def test_a_broken_file(tmp_path, content):
    path = tmp_path / "broken.tflite"
    path.write_bytes(converted("none")[:content] if isinstance(content, int) else content)
    for model in (path, path.read_bytes()):
        with pytest.raises(ValueError, match=r"^`model` must be a .*TFLite file.*\. Received: [^\n]*$"):
            LiteModel(model)


def test_a_file_without_signatures():
    tree = tflite_file.parse(converted("none"))
    tree.signatureDefs = None
    with pytest.raises(ValueError, match=r"^`model` must be a TFLite file with signatures\. Received: \d+ bytes"):
        lite_models(tflite_file.serialize(tree))


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ({"signature": "a"}, r"`signature` must be one of the file's, 'serving_default'\. Received: "),
        ({"num_threads": 0}, r"`num_threads` must be a positive integer\. Received"),
        ({"num_threads": 1.5}, r"`num_threads` must be a positive integer\. Received"),
    ],
)
def test_other_mistakes(argument, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        LiteModel(converted("none"), **argument)
