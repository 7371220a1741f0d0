"""recipes/train.py, as a user runs it."""

import csv
import json
import time

import keras
import numpy as np
import pytest
from conftest import TINY

from ddnn_keras import data
from ddnn_keras.checkpoint import load_network


def test_the_run_directory(finished_run):
    assert {path.name for path in finished_run.iterdir()} == {
        "model.keras",
        "config.json",
        "history.csv",
        "metrics.json",
        "curves.png",
    }
    config = json.loads((finished_run / "config.json").read_text())
    assert config["arguments"]["depths"] == [10, 18]
    assert config["arguments"]["seed"] == 0
    assert config["versions"]["keras"] == keras.__version__
    assert config["class_names"] == list("0123456789")


def test_metrics_are_those_of_the_saved_model_on_the_test_split(finished_run):
    metrics = json.loads((finished_run / "metrics.json").read_text())
    model = load_network(finished_run / "model.keras")
    digits = data.load("digits")
    images, labels = zip(*digits.test(100))
    logits = model.predict(np.concatenate(images), verbose=0)
    assert list(metrics) == ["depth_10", "depth_18"]
    for key, row in metrics.items():
        accuracy = np.mean(logits[key].argmax(-1) == np.concatenate(labels))
        assert row["accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert set(row) == {"accuracy", "loss", "parameters", "macs"}
    assert metrics["depth_10"]["parameters"] == model.subnet(10).count_params() - sum(
        variable.shape[0] for variable in model.subnet(10).non_trainable_variables
    )
    assert metrics["depth_10"]["macs"] < metrics["depth_18"]["macs"]


def test_the_history_has_a_row_an_epoch_and_learning_shows(finished_run):
    with open(finished_run / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert {"loss", "depth_10_kl_loss", "depth_10_attention_loss", "val_depth_18_accuracy"} <= set(rows[0])
    assert float(rows[-1]["depth_18_loss"]) < float(rows[0]["depth_18_loss"])


def wait_for(condition, process, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_killed_run_ends_with_the_history_of_an_uninterrupted_one(finished_run, script, tmp_path):
    """Killed without warning as the first epoch ends."""
    run = tmp_path / "killed"
    history = run / "history.csv"
    process = script("recipes/train.py", *TINY, "--epochs", 3, "--output", run, start=True)
    # The log is written before the model is saved: this kill falls into the saving, or just behind it.
    wait_for(lambda: history.exists() and history.read_text().count("\n") >= 2, process)
    process.kill()
    process.wait()
    assert not (run / "metrics.json").exists()
    finished = script("recipes/train.py", "--resume", run)
    assert finished.returncode == 0, finished.stderr
    assert history.read_bytes() == (finished_run / "history.csv").read_bytes()
    assert (run / "metrics.json").read_bytes() == (finished_run / "metrics.json").read_bytes()


def test_resuming_a_finished_run_changes_nothing(finished_run, script):
    before = {path.name: path.read_bytes() for path in finished_run.iterdir()}
    finished = script("recipes/train.py", "--resume", finished_run)
    assert finished.returncode == 0, finished.stderr
    assert {name: (finished_run / name).read_bytes() for name in before} == before


def test_distillation_none_and_a_named_recipe(script, tmp_path):
    flags = ["--depths", 10, 18, "--width", 2, "--epochs", 1, "--distillation", "none", "--output", tmp_path / "run"]
    finished = script("recipes/digits.py", *flags)
    assert finished.returncode == 0, finished.stderr
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert "depth_10_loss" in header
    assert "kl" not in header
    assert "attention" not in header
    assert "Next: python export/to_tflite.py" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "named", "allowed"),
    [
        (["--depths", "17"], "17", "10, 18, 34, 50, 100"),
        (["--depths", "18", "18"], "18", "must not repeat"),
        (["--depths"], "--depths", "expected at least one argument"),
        (["--dataset", "nothing_of_this_name"], "nothing_of_this_name", ""),
        (["--dataset", "folder:/does/not/exist"], "/does/not/exist", ""),
        (["--distillation", "dkd"], "dkd", "'ekd', 'kl', 'attention', 'none'"),
        (["--epochs", "many"], "many", "positive integer"),
        (["--epochs", "0"], "--epochs", "0 is not a positive integer"),
        (["--batch-size", "100000"], "100000", "1293"),
        (["--temperature", "0"], "temperature=0.0", "positive"),
        (["--width", "0"], "--width", "0 is not a positive integer"),
        (["--colour", "red"], "--colour", ""),
        (["--resume", "/no/such/run"], "/no/such/run", "holds no run"),
    ],
)
def test_mistakes(mistake, tmp_path, arguments, named, allowed):
    output = [] if "--resume" in arguments else ["--output", tmp_path / "run"]
    sentence = mistake("recipes/train.py", *arguments, *output)
    assert named in sentence
    assert allowed in sentence
    assert not (tmp_path / "run" / "model.keras").exists()


def test_a_run_is_never_overwritten(mistake, finished_run):
    before = (finished_run / "model.keras").read_bytes()
    assert "holds a run already: --resume" in mistake("recipes/train.py", *TINY, "--output", finished_run)
    assert (finished_run / "model.keras").read_bytes() == before


def test_a_resumed_run_keeps_its_arguments(mistake, finished_run):
    sentence = mistake("recipes/train.py", "--resume", finished_run, "--epochs", 9)
    assert "--epochs 9 differs from the 3" in sentence


def test_an_unwritable_output(mistake, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert str(tmp_path / "file") in mistake("recipes/train.py", *TINY, "--output", tmp_path / "file" / "run")


def test_a_truncated_model(mistake, finished_run, tmp_path):
    for name in ("config.json", "history.csv"):
        (tmp_path / name).write_bytes((finished_run / name).read_bytes())
    (tmp_path / "model.keras").write_bytes((finished_run / "model.keras").read_bytes()[:10_000])
    assert "model.keras is not a whole Keras model file" in mistake("recipes/train.py", "--resume", tmp_path)
