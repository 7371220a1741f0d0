import json
import os
import shutil

import pytest

from ddnn_keras.quantization_aware import is_quantization_aware
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.earlier_runs import finished_run as finished_run_of

SCRIPT = "recipes/finetune_qat.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finetuned(finished_run, tmp_path_factory, script):
    run = tmp_path_factory.mktemp("finetuned") / "digits"
    shutil.copytree(finished_run, run)
    finished = script(SCRIPT, "--run", run, "--epochs", 2)
    assert finished.stderr == ""
    assert "--bundle --quantize int8" in finished.stdout
    return run, run.with_name("digits_qat")


def test_a_run_like_any_other(finetuned, finished_run):
    source, run = finetuned
    assert {path.name for path in run.iterdir()} == {path.name for path in source.iterdir()}
    config = json.loads((run / "config.json").read_text())["arguments"]
    assert (config["epochs"], config["dataset"], config["depths"]) == (2, "digits", [10, 18])
    assert is_quantization_aware(load_network(run / "model.keras"))
    before, after = (json.loads((path / "metrics.json").read_text()) for path in (source, run))
    for key, row in after.items():
        assert (row["parameters"], row["macs"]) == (before[key]["parameters"], before[key]["macs"])
        assert row["accuracy"] > before[key]["accuracy"] - 0.05
    # Nothing happened to the run that it came from.
    assert (source / "model.keras").read_bytes() == (finished_run / "model.keras").read_bytes()


def test_its_bundle(printed, finetuned, mistake):
    _, run = finetuned
    model = ["--model", run / "model.keras", "--depth", "all", "--bundle"]
    shown = printed("export/to_tflite.py", *model, "--quantize", "int8")
    assert "bundle_int8.tflite" in shown
    assert "must be 'int8' for a quantization-aware network" in mistake("export/to_tflite.py", *model)


def test_a_stopped_one_goes_on(printed, finetuned, tmp_path, mistake):
    _, finished = finetuned
    run = tmp_path / "stopped"
    shutil.copytree(finished, run)
    (run / "metrics.json").unlink()
    assert "begun by finetune_qat.py" in mistake("recipes/train.py", "--resume", run)
    assert "--epochs 7 differs from the 2" in mistake(SCRIPT, "--resume", run, "--epochs", 7)
    printed(SCRIPT, "--resume", run)
    assert (run / "metrics.json").read_text() == (finished / "metrics.json").read_text()


def test_mistakes(finetuned, mistake, tmp_path, monkeypatch):
    source, run = finetuned
    assert "digits_qat holds model.keras" in mistake(SCRIPT, "--run", source)
    monkeypatch.chdir(source)
    assert "digits_qat holds model.keras" in mistake(SCRIPT, "--run", ".")
    assert "fine-tuned already" in mistake(SCRIPT, "--run", run, "--output", tmp_path / "again")
    assert "was begun by train.py: its --resume goes on" in mistake(SCRIPT, "--resume", source)
    shutil.copytree(source, tmp_path / "unfinished")
    (tmp_path / "unfinished/metrics.json").unlink()
    assert "must be a finished run. Received: " in mistake(SCRIPT, "--run", tmp_path / "unfinished")


def test_the_newest_run_is_one_of_train_py(finetuned, tmp_path, monkeypatch, capsys):
    source, run = finetuned
    for path in (source, run):
        shutil.copytree(path, tmp_path / "runs" / path.name)
    # The fine-tuned one is newer.
    os.utime(tmp_path / "runs/digits/metrics.json", (0, 0))
    monkeypatch.chdir(tmp_path)
    found, _ = finished_run_of(None)
    assert str(found.path) == "runs/digits"
    assert "Run: runs/digits (the newest finished one)" in capsys.readouterr().out
