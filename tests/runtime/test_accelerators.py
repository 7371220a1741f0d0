"""Files in LiteRT's CompiledModel: the Interpreter's answers, budgets, cascades; a sentence for what is missing."""

import os
import sys

import numpy as np
import pytest
from conftest import ROOT, ended
from small_networks import converted, held_out, tiny_net

from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.accelerators import check_same_logits, lite_models
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.tflite.convert import convert


def test_every_depth_answers_as_in_the_interpreter(bundle):
    images, _ = held_out(20)
    compiled, interpreted = Runtime(bundle.read_bytes(), accelerator="cpu"), Runtime(bundle)
    assert compiled.depths == interpreted.depths == [8, 14]
    for depth in compiled.depths:
        np.testing.assert_array_equal(compiled.logits(images, depth), interpreted.logits(images, depth))
        assert compiled.predict(images[0], depth=depth).label == interpreted.predict(images[0], depth=depth).label


@pytest.mark.parametrize(("quantize", "io_dtype"), [("none", "float32"), ("int8", "uint8"), ("int16x8", "int16")])
def test_every_type_of_input_and_output(quantize, io_dtype):
    content = converted(quantize, io_dtype=io_dtype)
    ((compiled,), (interpreted,)) = (lite_models(content, 2, accelerator).values() for accelerator in ("cpu", None))
    images, _ = held_out(5)
    np.testing.assert_allclose(compiled(images), interpreted(images), atol=1e-4 if quantize == "none" else 0)


@pytest.mark.parametrize(
    ("accelerator", "sentence"),
    [
        ("gpu", "one that this device has, .*'gpu', which needs a GPU with its driver for Vulkan"),
        ("npu", "one that this device has, .*'npu', which needs an NPU with its maker's package"),
        ("tpu", "None or one of cpu, gpu, npu. Received: accelerator='tpu'"),
    ],
)
def test_what_is_missing(bundle, monkeypatch, accelerator, sentence):
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):  # hides the drivers of a machine that has any
        monkeypatch.setenv(name, os.devnull)
    with pytest.raises(ValueError, match=f"^`accelerator` must be {sentence}"):
        Runtime(bundle, accelerator=accelerator)


def test_other_logits_than_the_cpus():
    networks = [LiteModel(convert(tiny_net(seed))) for seed in (0, 0, 1)]
    check_same_logits(networks[0], networks[1], "gpu")
    with pytest.raises(ValueError, match=r"^`accelerator` must give the CPU's logits\. .*'gpu', whose logits"):
        check_same_logits(networks[0], networks[2], "gpu")


def test_logs_stay_away(bundle):
    program = "import sys; from ddnn_keras.runtime import Runtime; print(Runtime(sys.argv[1], 1, 'cpu').latencies)"
    finished = ended([sys.executable, "-c", program, bundle], env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert finished.stderr == ""
    assert finished.stdout.startswith("{8: ")
