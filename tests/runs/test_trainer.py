import functools
import json
import math
import signal
import subprocess
import sys
import time

import filelock
import keras
import numpy as np
import pytest
from conftest import NO_TENSORFLOW, ROOT, RUN, TINY, kill_training, python

from ddnn_keras import DDNN, EKD, data
from ddnn_keras.runs.arguments import argument_parser
from ddnn_keras.runs.checkpoint import load_network, read_progress
from ddnn_keras.runs.provenance import processor
from ddnn_keras.runs.run_directory import RunDirectory, new_output
from ddnn_keras.runs.trainer import compiled_network, final_metrics

FILES = {"model.keras", "config.json", "history.csv", "metrics.json", "curves.png", ".lock"}


def test_the_run_directory(finished_run):
    assert {path.name for path in finished_run.iterdir()} == FILES
    config = json.loads((finished_run / "config.json").read_text())
    assert config["arguments"]["depths"] == [10, 18]
    assert config["arguments"]["seed"] == 0
    assert config["versions"]["keras"] == keras.__version__
    assert config["processor"] == processor() and "revision" in config
    assert config["class_names"] == list("0123456789")


def test_runs_begun_in_the_same_second_have_folders_of_their_own():
    begun = [new_output("folder:some/images", "resnet_cifar", "8-14", "ekd") for _ in range(3)]
    assert len(set(begun)) == 3
    assert all(path.startswith("runs/folder-some-images_resnet_cifar_8-14_ekd_2") for path in begun)


def test_a_loss_that_is_no_number_is_null_in_json():
    """As that of a network whose last update was too large."""
    model = DDNN((8,), "resnet_cifar", width=2, input_shape=data.load("digits").image_shape)
    model.compile("sgd", metrics=["accuracy"], run_eagerly=True)
    for variable in model.trainable_variables:
        variable.assign(keras.ops.full_like(variable, np.inf))
    metrics = final_metrics(model, data.load("digits").test(100))
    assert metrics["depth_8"]["loss"] is None
    assert 0 <= metrics["depth_8"]["accuracy"] <= 1
    json.dumps(metrics, allow_nan=False)


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


@pytest.mark.slow
def test_a_killed_run_ends_with_the_history_of_an_uninterrupted_one(finished_run, script, tmp_path):
    """Killed without warning as the first epoch ends."""
    run = tmp_path / "killed"
    # The log is written before the model is saved: this kill falls into the saving, or just behind it.
    kill_training(RunDirectory(run).read_history, "recipes/train.py", *TINY, "--epochs", 3, "--output", run)
    assert not (run / "metrics.json").exists()
    script("recipes/train.py", "--resume", run)
    assert (run / "history.csv").read_bytes() == (finished_run / "history.csv").read_bytes()
    assert (run / "metrics.json").read_bytes() == (finished_run / "metrics.json").read_bytes()
    assert {path.name for path in run.iterdir()} == FILES


@pytest.mark.slow
def test_who_interrupts_a_training_is_told_how_it_goes_on(tmp_path):
    command = [sys.executable, ROOT / "recipes/train.py", *TINY, "--epochs", 99, "--output", tmp_path / "run"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        while not RunDirectory(tmp_path / "run").read_history():
            assert process.poll() is None, "the training ended before it could be interrupted"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=100)[0]
    assert (process.returncode, printed.splitlines()[-1]) == (130, "Stopped: --resume with the run directory goes on.")


@pytest.mark.slow
def test_a_full_net_that_is_trained_first_teaches_also_after_a_kill(script, tmp_path):
    flags = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", 8, 14, "--width", 2, "--stem", "strided"]
    flags += ["--epochs", 3, "--teacher-epochs", 2]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    script("recipes/train.py", *flags, "--output", whole)
    alone, taught = ((run / "history.csv").read_text() for run in (whole / "teacher", whole))
    assert "kl" not in alone and "depth_14_kl_loss" in taught
    assert (alone.count("\n"), taught.count("\n")) == (3, 4)
    assert list(json.loads((whole / "teacher" / "metrics.json").read_text())) == ["depth_14"]
    kill_training(RunDirectory(killed).read_history, "recipes/train.py", *flags, "--output", killed)
    script("recipes/train.py", "--resume", killed)
    assert (killed / "history.csv").read_text() == taught


def test_every_setting_reaches_the_network():
    digits = data.load("digits")
    flags = ["--backbone", "resnet_cifar", "--depths", "8", "14", "--width", "2", "--epochs", "3"]
    flags += ["--learning-rate", "0.2", "--weight-decay", "1e-3", "--student-weight", "0.5", "--kl-weight", "2"]
    flags += ["--temperature", "3", "--attention", "activation", "--attention-weight", "5", "--teacher", "mean"]
    parser = argument_parser("")
    model = compiled_network(parser.parse_args(flags), digits)
    steps, optimizer = digits.steps_per_epoch(64), model.optimizer
    rates = [float(optimizer._learning_rate(epoch * steps)) for epoch in range(4)]
    assert rates == pytest.approx([0, 0.2, 0.1, 0], abs=1e-5)
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    # As an L2 penalty of 1e-3, which goes through the momentum, acts.
    assert optimizer.weight_decay == pytest.approx(0.01)
    ekd = EKD(temperature=3.0, kl_weight=2.0, attention="activation", attention_weight=5.0, teacher="mean")
    assert model.distillation == ekd
    # Beside a GPU Keras would choose XLA, and not all of XLA's operations are deterministic.
    assert model.jit_compile is False
    model = compiled_network(parser.parse_args([*flags, "--distillation", "none"]), digits)
    logs = model.evaluate(digits.validation(72), return_dict=True, verbose=0)
    assert logs["loss"] == pytest.approx(0.5 * logs["depth_8_loss"] + logs["depth_14_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "named", "allowed"),
    [
        (["--depths", "17"], "17", "--depths must be among 10, 18, 34, 50, 100"),
        (["--depths", "18", "18"], "18", "must not repeat"),
        (["--dataset", "folder:/does/not/exist"], "/does/not/exist", "There is no folder"),
        (["--epochs", "0"], "--epochs", "0 is not a positive integer"),
        (["--batch-size", "100000"], "100000", "1293"),
        (["--temperature", "0"], "temperature=0.0", "positive"),
        (["--resume", "/no/such/run"], "/no/such/run", "holds no run"),
        (["--teacher", "mean", "--teacher-epochs", "2"], "--teacher-epochs", "must not set --teacher beside"),
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
    assert "already: --resume goes on with a run" in mistake("recipes/train.py", *TINY, "--output", finished_run)
    assert (finished_run / "model.keras").read_bytes() == before


def test_a_resumed_run_keeps_its_arguments_and_its_backend(mistake, finished_run, copied_run):
    resume = ["recipes/train.py", "--resume", finished_run]
    assert "--epochs 30 differs from the 3" in mistake(*resume, "--epochs", 30)  # though 30 is the default
    assert "--dataset npz:x differs from the digits" in mistake(*resume, "--dataset", "npz:x")
    assert "--output does not go with --resume" in mistake(*resume, "--output", "elsewhere")
    run = copied_run(lambda config: config.update(backend="torch"))
    assert "begun with KERAS_BACKEND=torch" in mistake("recipes/train.py", "--resume", run)


def test_a_run_that_another_process_trains_is_left_to_it(finished_run, mistake):
    with filelock.FileLock(finished_run / ".lock"):
        sentence = mistake("recipes/train.py", "--resume", finished_run)
    assert f"{finished_run} is being written by another process" in sentence


def test_resuming_a_finished_run_changes_nothing(finished_run, main):
    before = {path.name: path.read_bytes() for path in finished_run.iterdir()}
    assert main("recipes/train.py", "--resume", finished_run)[0] == 0
    assert {name: (finished_run / name).read_bytes() for name in before} == before


def test_a_resumed_run_may_have_other_folders_and_mends_its_files(
    printed, finished_run, copied_run, tmp_path, monkeypatch
):
    run = copied_run(lambda config: config["arguments"].update(data_dir=str(tmp_path / "where they were")))
    for name in ("history.csv", "metrics.json", "curves.png"):
        (run / name).unlink()
    monkeypatch.chdir(tmp_path)
    printed("recipes/train.py", "--resume", run, "--data-dir", "sets")
    assert json.loads((run / "config.json").read_text())["arguments"]["data_dir"] == str(tmp_path / "sets")
    assert (run / "metrics.json").read_bytes() == (finished_run / "metrics.json").read_bytes()
    assert not (run / "curves.png").exists()


def test_a_diverging_run_says_so_and_saves_nothing_of_it(mistake, tmp_path):
    run = tmp_path / "run"
    flags = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", 8, "--width", 2, "--epochs", 2]
    flags += ["--warmup-epochs", 0, "--learning-rate", 1e30, "--output", run]
    assert "NaN or Inf loss in epoch 1. A smaller --learning-rate may help." in mistake("recipes/train.py", *flags)
    assert not (run / "model.keras").exists()
    assert (run / "history.csv").read_text() == ""


@pytest.mark.slow
def test_a_training_without_distillation_in_mixed_precision(printed, main, tmp_path):
    """Dynamic loss scaling skips updates, so the optimizer's steps do not tell the epoch."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    flags = ["--backbone", "resnet_cifar", "--depths", 8, 14, "--width", 2, "--stem", "strided", "--epochs", 1]
    flags += ["--distillation", "none", "--tensorboard"]
    shown = printed("recipes/train.py", *flags, "--precision", "mixed_float16", "--output", run)
    assert "Warm-up takes all epochs (1): no cosine follows." in shown
    assert "Next: python export/to_tflite.py" in shown
    before = (run / "history.csv").read_bytes()
    header = before.decode().splitlines()[0]
    assert "depth_8_loss" in header and "kl" not in header and "attention" not in header
    tags = EventAccumulator(str(run / "tensorboard" / "validation")).Reload().Tags()["tensors"]
    assert {"epoch_depth_8_accuracy", "epoch_depth_14_accuracy"} <= set(tags)
    assert read_progress(run / "model.keras")["finished_epochs"] == 1
    assert main("recipes/train.py", "--resume", run)[0] == 0
    assert (run / "history.csv").read_bytes() == before


@pytest.mark.slow
def test_fewer_training_images_and_validations(printed, tmp_path):
    run = tmp_path / "run"
    flags = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", 8, "--width", 2, "--stem", "strided"]
    flags += ["--train-images", 100, "--batch-size", 50, "--epochs", 3, "--validation-freq", 2]
    shown = printed("recipes/train.py", *flags, "--evaluate-on", "validation", "--output", run)
    assert [math.isfinite(row["val_accuracy"]) for row in RunDirectory(run).read_history()] == [False, True, False]
    rows = [line.split() for line in shown.splitlines() if "/3 " in line]
    assert [len(row) for row in rows] == [4, 5, 4]  # the table of epochs leaves them blank, too
    assert "validation accuracy" in shown
    images, labels = map(np.concatenate, zip(*data.load("digits").validation(100)))
    logits = load_network(run / "model.keras").predict(images, verbose=0)["depth_8"]
    accuracy = json.loads((run / "metrics.json").read_text())["depth_8"]["accuracy"]
    assert accuracy == pytest.approx(np.mean(logits.argmax(-1) == labels), abs=1e-6)


@pytest.mark.slow
def test_a_run_on_jax_without_tensorflow_resumes_with_the_same_history_and_exports(printed, tmp_path, monkeypatch):
    run, killed = tmp_path / "run", tmp_path / "killed"
    flags = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", 8, "--width", 4, "--epochs", 2]
    flags += ["--precision", "mixed_bfloat16", "--train-images", 320]
    train = functools.partial(python, NO_TENSORFLOW + RUN, ROOT / "recipes/train.py", KERAS_BACKEND="jax")
    train(*flags, "--output", run)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    kill_training((killed / "model.keras").exists, "recipes/train.py", *flags, "--output", killed)
    train("--resume", killed)
    assert json.loads((run / "config.json").read_text())["backend"] == "jax"
    assert (killed / "history.csv").read_bytes() == (run / "history.csv").read_bytes()
    printed("export/to_tflite.py", "--model", run / "model.keras", "--depth", 8)
