import concurrent.futures
import os
import sys

import numpy as np
import pytest
from conftest import ROOT, ended
from small_networks import converted, held_out

from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.latency_budget import LatencyBudget
from ddnn_keras.runtime.metadata import write_metadata


@pytest.fixture
def runtime(bundle):
    return Runtime(bundle)


def test_every_depth_answers_as_its_signature_does(runtime, bundle):
    images, labels = held_out(30)
    assert runtime.depths == [8, 14]
    assert runtime.image_shape == (16, 16, 1)
    for depth in runtime.depths:
        logits = LiteModel(bundle, f"depth_{depth}")(images)
        np.testing.assert_array_equal(runtime.logits(images, depth), logits)
        predictions = [runtime.predict(image, depth=depth) for image in images]
        assert [prediction.label for prediction in predictions] == [f"digit {best}" for best in logits.argmax(-1)]
        assert {prediction.depth for prediction in predictions} == {depth}
        np.testing.assert_allclose([prediction.probabilities.sum() for prediction in predictions], 1, rtol=1e-5)
        assert min(prediction.milliseconds for prediction in predictions) > 0
        assert np.mean([f"digit {label}" == found.label for label, found in zip(labels, predictions)]) > 0.8


def test_the_depth_is_the_deepest_by_default_and_may_be_numpys(runtime):
    assert runtime.predict(np.zeros((16, 16, 1))).depth == 14
    assert runtime.predict(np.zeros((16, 16, 1)), depth=np.int64(8)).depth == 8


def test_the_depth_follows_what_runs_take(runtime):
    image = held_out(1)[0][0]
    # As if they had taken nanoseconds at the start: after four of seven runs, the median is the pace of now.
    runtime._budget = LatencyBudget({8: 1e-6, 14: 2e-6})
    assert [runtime.predict(image, budget_ms=1e-5).depth for _ in range(7)] == [14] * 4 + [8] * 3


def test_a_device_that_was_slow_when_it_was_measured(runtime):
    image = held_out(1)[0][0]
    # As if they had taken hours at the start.
    runtime._budget = LatencyBudget({8: 1e7, 14: 2e7})
    assert runtime.predict(image, budget_ms=1e6).depth == 14
    with pytest.raises(ValueError, match=r"^`budget_ms` must be at least .*, the time of depth 8 on this device\."):
        runtime.predict(image, budget_ms=1e-6)


def test_threads_take_turns(runtime):
    images, _ = held_out(64)
    expected = {depth: runtime.logits(images, depth).argmax(-1) for depth in runtime.depths}
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [(index, depth) for index in range(len(images)) for depth in runtime.depths]
        found = pool.map(lambda pair: runtime.predict(images[pair[0]], depth=pair[1]), asked)
        for (index, depth), prediction in zip(asked, found):
            assert prediction.label == f"digit {expected[depth][index]}"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"depth": 50}, r"`depth` must be one of 8, 14\. Received: depth=50"),
        ({"depth": 8, "budget_ms": 5}, r"`depth` or `budget_ms` must be given, not both\. Received: 8 and 5"),
        ({"image": np.zeros((8, 8, 1))}, r"`image` must have the shape \(16, 16, 1\)\. Received: \(8, 8, 1\)"),
        ({"image": np.full((16, 16, 1), -1)}, r"`image` must be raw pixels from 0 to 255"),
    ],
)
def test_mistakes(runtime, arguments, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        runtime.predict(**{"image": np.zeros((16, 16, 1)), **arguments})


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^`model` must be an existing file\. Received: '.*gone"):
        Runtime(tmp_path / "gone.tflite")
    with pytest.raises(ValueError, match=r"^`model` must be a file with DDNN_METADATA\."):
        Runtime(converted("none"))
    with pytest.raises(ValueError, match=r"^`model` must be a file that names its depths\. Received: \d+ bytes$"):
        Runtime(write_metadata(converted("none"), {}))


def test_a_device_needs_numpy_and_the_interpreter_alone(bundle, tmp_path):
    """Neither TensorFlow nor Keras can be imported, in the processes that the benchmark starts neither."""
    for name in ("tensorflow", "keras", "jax", "torch", "rich", "PIL", "scipy", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not on a device')")
    program = """
import sys
import numpy as np
from ddnn_keras.runtime import Cascade, Runtime
from ddnn_keras.runtime.benchmark import benchmark
runtime = Runtime(sys.argv[1])
image = np.zeros((16, 16, 1))
print(runtime.predict(image, depth=8).depth, runtime.predict(image, budget_ms=1e6).depth)
cascade = Cascade.calibrate(runtime, np.full((4, 16, 16, 1), 255), [0, 1, 2, 3], accuracy=0.0)
print(cascade.predict(image).depth, *(found.depth for found in benchmark([sys.argv[1]], runs=2, warm_up=0)))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    finished = ended([sys.executable, "-c", program, bundle], cwd=tmp_path, env=environment)
    assert finished.stderr == ""
    first, second = finished.stdout.splitlines()
    assert first.split() == ["8", "14"]
    assert second.split()[1:] == ["8", "14"]
