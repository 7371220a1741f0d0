"""export/benchmark_tflite.py and its yardstick, plain_resnet.py: what they write, not how fast anything is."""

import csv
import subprocess
import sys

import benchmark_tflite
import pytest
from conftest import ROOT

from ddnn_keras import DDNN
from ddnn_keras.network.cost import count_parameters
from ddnn_keras.runtime.benchmark import Measurement, benchmark
from ddnn_keras.runtime.interpreter import LiteModel

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("bundle")


@pytest.fixture(scope="module")
def plain(tmp_path_factory, script):
    path = tmp_path_factory.mktemp("plain") / "plain_18.tflite"
    flags = ["--width", 4, "--image-size", 16, "--channels", 1]
    finished = script("recipes/study/plain_resnet.py", "--depth", 18, *flags, "--output", path)
    assert finished.returncode == 0, finished.stderr
    return path, finished.stdout


def test_the_yardstick_is_a_network_of_the_same_size(plain):
    path, output = plain
    subnet = DDNN((18,), width=4, input_shape=(16, 16, 1)).subnet(18)
    statistics = subnet.count_params() - count_parameters(subnet)
    assert f"{count_parameters(subnet) + statistics:,} parameters" in output
    assert LiteModel(path).input.shape == (1, 16, 16, 1)


def test_every_depth_of_every_file(plain, bundle, tmp_path, main):
    path, _ = plain
    flags = ["--runs", 5, "--warm-up", 1, "--output", tmp_path / "result"]
    code, output, errors = main("export/benchmark_tflite.py", path, bundle, *flags)
    assert code == 0, errors
    rows = list(csv.DictReader((tmp_path / "result.csv").open()))
    assert [(row["file"], row["depth"]) for row in rows] == [
        (str(path), ""),
        (str(bundle), "8"),
        (str(bundle), "14"),
    ]
    assert float(rows[0]["relative"]) == 1
    for row in rows:
        assert 0 < float(row["median_ms"]) <= float(row["p90_ms"])
        assert float(row["load_ms"]) > 0
        assert float(row["peak_mb"]) > 0
        assert f"{float(row['median_ms']):.3f}" in output
    assert float(rows[2]["accuracy"]) > 0.9 and rows[0]["accuracy"] == ""
    assert (tmp_path / "result.png").stat().st_size > 5_000


def test_relative_is_to_the_first_row(bundle):
    first, second = benchmark([bundle], runs=1, warm_up=0)
    assert second.relative == pytest.approx(second.median_ms / first.median_ms)


def test_one_file_twice_shows_how_far_equal_times_differ(bundle):
    found = benchmark([bundle, bundle], runs=2, warm_up=0)
    assert [measurement.depth for measurement in found] == [8, 14, 8, 14]


def test_a_file_given_twice_is_two_lines():
    networks = [("a", "8"), ("a", "14"), ("a", "8"), ("a", "14"), ("b", "14")]
    found = [measurement(file, signature) for file, signature in networks]
    assert benchmark_tflite.lines(found) == [found[:2], found[2:4], found[4:]]
    assert benchmark_tflite.lines([]) == []


def test_networks_without_a_name_are_called_by_signature():
    networks = [("a", "serving_default"), ("a", "small"), ("b", "depth_8", 8)]
    assert [benchmark_tflite.name_of(measurement(*of)) for of in networks] == ["a", "a small", "b 8"]


def measurement(file, signature, depth=""):
    return Measurement(file, signature, depth, 1, *[1.0] * 5, accuracy=0.9)


def test_what_cannot_be_timed(bundle):
    with pytest.raises(ValueError, match=r"^`paths` must be one or more\. Received: none$"):
        benchmark([])
    with pytest.raises(ValueError, match=r"^`runs` must be 1 or more\. Received: runs=0$"):
        benchmark([bundle], runs=0)
    with pytest.raises(ValueError, match=r"^`warm_up` must be 0 or more\. Received: warm_up=-1$"):
        benchmark([bundle], warm_up=-1)


def test_a_board_without_keras(bundle, tmp_path):
    program = """
import runpy, sys
for name in ("tensorflow", "keras", "jax", "torch", "rich", "PIL", "scipy", "matplotlib"):
    sys.modules[name] = None
sys.argv = ["benchmark_tflite.py", sys.argv[1], "--runs", "2", "--warm-up", "0", "--output", sys.argv[2]]
runpy.run_path("export/benchmark_tflite.py", run_name="__main__")
"""
    command = [sys.executable, "-c", program, bundle, tmp_path / "result"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"result.csv"}


def test_mistakes(mistake, bundle, tmp_path):
    assert "gone.tflite" in mistake("export/benchmark_tflite.py", bundle, tmp_path / "gone.tflite")
    assert "not a positive integer" in mistake("export/benchmark_tflite.py", bundle, "--runs", 0)
    for folder in (f"{tmp_path}/", f"{tmp_path}/.", ".."):
        sentence = mistake("export/benchmark_tflite.py", bundle, "--output", folder)
        assert f"--output must be a name for files, not a folder. Received: {folder}" in sentence
    assert "--output must end in .tflite. Received: x" in mistake(
        "recipes/study/plain_resnet.py", "--depth", 18, "--output", "x"
    )
    assert "invalid choice: 19" in mistake("recipes/study/plain_resnet.py", "--depth", 19, "--output", "x.tflite")
