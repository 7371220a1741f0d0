"""Training on several devices: true processes over the loopback address, and two logical processors."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT

# Few steps: after some tens, rounding shows in the losses, as it does if only the order of a batch's images differs.
NETWORK = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", "8", "14", "--width", "4"]
SETTINGS = [*NETWORK, "--batch-size", "64", "--train-images", "320", "--learning-rate", "0.001", "--epochs", "2"]
SECONDS = 300  # until a process must have come so far, on a busy machine


@pytest.fixture
def train(tmp_path):
    """Starts train.py: `train("output", *flags)`."""
    started = []

    def start(output, *flags, backend="jax", devices=1):
        log = open(tmp_path / f"{len(started)}.log", "w+")  # noqa: SIM115
        command = [sys.executable, str(ROOT / "recipes/train.py"), *flags]
        command += [] if "--resume" in flags else ["--output", str(tmp_path / output)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_NUM_CPU_DEVICES": str(devices)}
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, env=environment)
        started.append(process)
        process.log = log
        return process

    yield start
    for process in started:
        process.kill()
        process.log.close()


def printed(process):
    process.log.seek(0)
    return process.log.read()


def addresses():
    """Two free ones on this machine."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{found.getsockname()[1]}" for found in (one, other)]


def hosts():
    """The flags of two hosts on this machine."""
    common = ["--distribute", "--hosts", *addresses()]
    return [[*common, "--rank", str(rank)] for rank in (0, 1)]


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def check_finished(*processes):
    for process in processes:
        assert process.wait(SECONDS) == 0, printed(process)


def check_same_history(folder):
    one, two = (history(folder / name) for name in ("one", "two"))
    assert len(two) == 2
    for alone, together in zip(one, two):
        np.testing.assert_allclose(list(together.values()), list(alone.values()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_devices_of_one_host_have_the_losses_of_one(train, tmp_path):
    odd = train("odd", *SETTINGS, "--distribute", "--batch-size", "65", devices=2)
    assert odd.wait(SECONDS) == 2
    assert "--batch-size must be a multiple of 2, the number of devices. Received: 65" in printed(odd)
    check_finished(train("one", *SETTINGS, "--batch-size", "65"))
    # Of 144 validation images, five devices are left with 14 at the end.
    check_finished(train("two", *SETTINGS, "--batch-size", "65", "--distribute", devices=5))
    check_same_history(tmp_path)
    # All devices were in use: they add up in another order.
    assert history(tmp_path / "two") != history(tmp_path / "one")


@pytest.mark.slow
def test_two_hosts_have_the_losses_of_one(train, tmp_path):
    check_finished(train("one", *SETTINGS))
    check_finished(*(train("two", *SETTINGS, *flags) for flags in hosts()))
    check_same_history(tmp_path)
    # Only the first writes, and what it writes is a run like any other.
    assert {file.name for file in (tmp_path / "two").iterdir()} == {file.name for file in (tmp_path / "one").iterdir()}
    configs = [(tmp_path / name / "config.json").read_text() for name in ("one", "two")]
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_a_lost_host_ends_the_other_and_a_resumed_run_goes_on(train, tmp_path):
    """The lost one is the first, which writes the files."""
    settings = [*SETTINGS, "--epochs", "12"]
    processes = [train("run", *settings, *flags) for flags in hosts()]
    end = time.monotonic() + SECONDS
    while not (tmp_path / "run/history.csv").exists() or len(history(tmp_path / "run")) < 2:
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[0].send_signal(signal.SIGKILL)
    # JAX ends it, which takes half a minute at most.
    assert processes[1].wait(SECONDS) != 0
    check_finished(*(train("run", "--resume", str(tmp_path / "run"), *flags) for flags in hosts()))
    assert [row["epoch"] for row in history(tmp_path / "run")] == list(range(12))


# Two devices on a machine with one processor.
LOGICAL = """
import runpy, sys
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
script, *sys.argv[1:] = sys.argv[1:]
sys.argv[0] = script
runpy.run_path(script, run_name="__main__")
"""


@pytest.mark.slow
def test_two_devices_of_one_machine_with_tensorflow(tmp_path):
    """Each normalises its own half of a batch, so losses agree to 0.4 %; gradients of half or twice the size would
    change them by 4 %, as such learning rates do.
    """
    flags = [*SETTINGS, "--learning-rate", "0.02", "--warmup-epochs", "0", "--epochs", "3"]
    losses = {}
    for name, distribute in {"one": [], "two": ["--distribute"]}.items():
        command = [sys.executable, "-c", LOGICAL, str(ROOT / "recipes/train.py"), *flags, *distribute]
        finished = subprocess.run([*command, "--output", str(tmp_path / name)], capture_output=True, text=True)
        assert finished.returncode == 0, finished.stderr
        losses[name] = [row["loss"] for row in history(tmp_path / name)]
    assert losses["one"][2] < 0.9 * losses["one"][0]
    np.testing.assert_allclose(losses["two"], losses["one"], rtol=0.01)
    assert losses["two"] != losses["one"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--hosts", "a:1", "b:1"], "--hosts must go with --distribute."),
        (["--distribute", "--hosts", "a:1", "b:1"], "--hosts needs KERAS_BACKEND=jax"),
        (["--distribute", "--hosts", "10.0.0.1", "b:1"], "10.0.0.1 is not ADDRESS:PORT"),
        (["--rank", "1"], "--rank must be 0 without --hosts. Received: 1"),
        (["--hosts", "a:1", "b:1", "--rank", "2"], "--rank must be less than 2, the number of --hosts. Received: 2"),
    ],
)
def test_mistakes(mistake, tmp_path, flags, sentence):
    assert sentence in mistake("recipes/train.py", *SETTINGS, *flags, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_backend(train):
    process = train("run", *SETTINGS, "--distribute", backend="numpy")
    assert process.wait(SECONDS) == 2
    assert "--distribute needs KERAS_BACKEND to be tensorflow or jax. Received: numpy" in printed(process)
