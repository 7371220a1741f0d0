import csv

import pytest
from small_networks import converted

from ddnn_keras import DDNN
from ddnn_keras.network.cost import count_parameters
from ddnn_keras.runtime.interpreter import LiteModel


@pytest.mark.slow
def test_the_yardstick_is_a_network_of_the_same_size(tmp_path, printed):
    path = tmp_path / "plain_18.tflite"
    flags = ["--width", 4, "--image-size", 16, "--channels", 1]
    output = printed("recipes/study/plain_resnet.py", "--depth", 18, *flags, "--output", path)
    subnet = DDNN((18,), width=4, input_shape=(16, 16, 1)).subnet(18)
    statistics = subnet.count_params() - count_parameters(subnet)
    assert f"{count_parameters(subnet) + statistics:,} parameters" in output
    assert LiteModel(path).input.shape == (1, 16, 16, 1)


def test_every_depth_of_every_file(bundle, tmp_path, printed):
    path = tmp_path / "from elsewhere.tflite"
    path.write_bytes(converted("none"))
    flags = ["--runs", 1, "--warm-up", 0, "--output", tmp_path / "result"]
    output = printed("export/benchmark_tflite.py", path, bundle, bundle, *flags)
    rows = list(csv.DictReader((tmp_path / "result.csv").open()))
    # One file twice shows how far equal times differ.
    bundles = [(str(bundle), "8"), (str(bundle), "14")]
    assert [(row["file"], row["depth"]) for row in rows] == [(str(path), ""), *bundles, *bundles]
    assert f"{path} " in output and f"{bundle} 14 " in output
    assert float(rows[0]["relative"]) == 1
    for row in rows:
        assert 0 < float(row["median_ms"]) <= float(row["p90_ms"])
        assert float(row["relative"]) == pytest.approx(float(row["median_ms"]) / float(rows[0]["median_ms"]))
        assert float(row["load_ms"]) > 0
        assert float(row["peak_mb"]) > 0
        assert f"{float(row['median_ms']):.3f}" in output
    assert float(rows[2]["accuracy"]) > 0.9 and rows[0]["accuracy"] == ""
    assert (tmp_path / "result.png").stat().st_size > 5_000


def test_an_accelerator_beside_the_interpreter(bundle, tmp_path, printed):
    flags = ["--accelerator", "cpu", "--runs", 2, "--warm-up", 0, "--output", tmp_path / "result"]
    output = printed("export/benchmark_tflite.py", bundle, *flags)
    rows = list(csv.DictReader((tmp_path / "result.csv").open()))
    assert [(row["depth"], row["accelerator"]) for row in rows] == [("8", ""), ("14", ""), ("8", "cpu"), ("14", "cpu")]
    assert f"{bundle} 14 cpu " in output
    assert min(float(row["load_ms"]) for row in rows) > 0


def test_mistakes(mistake, bundle, tmp_path):
    assert "gone.tflite" in mistake("export/benchmark_tflite.py", bundle, tmp_path / "gone.tflite")
    plain = "recipes/study/plain_resnet.py"
    assert "--output must end in .tflite. Received: x" in mistake(plain, "--depth", 18, "--output", "x")
