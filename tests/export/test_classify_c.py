import pathlib
import shutil
import sys

import ai_edge_litert
import numpy as np
import pytest
from conftest import ROOT, ended
from small_networks import converted, held_out

from ddnn_keras.runtime.accelerators import lite_models

LIBRARY = pathlib.Path(ai_edge_litert.__file__).with_name("libLiteRt.so")

pytestmark = pytest.mark.skipif(
    not (LIBRARY.exists() and shutil.which("cc") and shutil.which("make")), reason="no C or library"
)


@pytest.fixture(scope="module")
def classify(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classify") / "c"
    shutil.copytree(ROOT / "export" / "c", folder, ignore=shutil.ignore_patterns("classify"))
    assert ended(["make", "-C", folder, f"PYTHON={sys.executable}"]).stderr == ""
    return lambda *arguments, code=0: ended([folder / "classify", *arguments], code)


def check_same_answers(classify, path, pixels, tolerance):
    images, _ = held_out(3)
    for signature, network in lite_models(path).items():
        for image in images:
            image.astype("uint8").tofile(pixels)
            first, second = classify(path, signature, pixels).stdout.splitlines()
            expected = network(image[np.newaxis])[0]
            assert int(first) == expected.argmax()
            np.testing.assert_allclose(np.array(second.split(), "float32"), expected, atol=tolerance)


def test_every_depth_of_a_bundle_answers_as_in_python(classify, bundle, tmp_path):
    check_same_answers(classify, bundle, tmp_path / "pixels.bin", 0)


@pytest.mark.parametrize(
    ("quantize", "io_dtype", "tolerance"), [("none", "float32", 1e-5), ("int8", "uint8", 0), ("int16x8", "int16", 0)]
)
def test_every_type_of_input_and_output(classify, tmp_path, quantize, io_dtype, tolerance):
    path = tmp_path / "net.tflite"
    path.write_bytes(converted(quantize, io_dtype=io_dtype))
    check_same_answers(classify, path, tmp_path / "pixels.bin", tolerance)


def test_mistakes(classify, bundle, tmp_path):
    pixels = tmp_path / "pixels.bin"
    pixels.write_bytes(bytes(256))
    (tmp_path / "cut.tflite").write_bytes(bundle.read_bytes()[:20_000])
    (tmp_path / "few.bin").write_bytes(bytes(255))
    for arguments, sentence in [
        ([bundle], "classify: must be called with FILE.tflite SIGNATURE PIXELS"),
        ([tmp_path / "gone", "depth_8", pixels], f"classify: cannot read {tmp_path}/gone"),
        ([tmp_path / "cut.tflite", "depth_8", pixels], "classify: LiteRT's status 501 from "),
        ([bundle, "depth_50", pixels], f"classify: {bundle} has no signature depth_50"),
        ([bundle, "depth_8", tmp_path / "few.bin"], f"classify: {tmp_path}/few.bin must have 256 bytes"),
    ]:
        assert classify(*arguments, code=2).stderr.startswith(sentence)
