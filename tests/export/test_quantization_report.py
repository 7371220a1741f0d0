import csv

import pytest
from small_networks import converted

from ddnn_keras.runtime.metadata import write_metadata


def test_a_file_whose_network_was_not_kept(tmp_path, mistake):
    facts = {"quantize": "int8", "fine_tuning": {"technique": "prune"}}
    (tmp_path / "pruned.tflite").write_bytes(write_metadata(converted("int8"), facts))
    sentence = mistake("export/quantization_report.py", tmp_path / "pruned.tflite")
    assert "INTEGER.tflite must be of to_tflite.py" in sentence


@pytest.mark.slow
def test_every_depth_of_a_bundle(copied_run, printed, mistake):
    run = copied_run()
    export = "export/to_tflite.py", "--model", run / "model.keras", "--depth"
    printed(*export, "all", "--bundle", "--quantize", "int8")
    output = printed(
        "export/quantization_report.py", run / "tflite" / "bundle_int8.tflite", "--images", 10, "--worst", 2
    )
    assert output.count("stage") == 4 and "cut off" in output
    rows = list(csv.DictReader((run / "tflite" / "bundle_int8.layers.csv").open()))
    assert {row["depth"] for row in rows} == {"10", "18"}
    assert all(float(row["snr"]) > 0 for row in rows)
    assert (run / "tflite" / "bundle_int8.layers.png").stat().st_size > 10_000
    printed(*export, 10)
    sentence = mistake("export/quantization_report.py", run / "tflite" / "depth_10.tflite")
    assert "must be int8 or int16x8. Received" in sentence and "which is none" in sentence
