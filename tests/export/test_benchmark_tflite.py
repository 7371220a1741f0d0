import csv

import pytest
from small_networks import converted


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
