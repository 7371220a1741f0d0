"""Training on several devices: true processes over the loopback address, and two logical processors."""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, RUN, python

from ddnn_keras.runs.run_directory import RunDirectory

# Few steps: after some tens, rounding shows in the losses, as it does if only the order of a batch's images differs.
NETWORK = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", "8", "14", "--width", "4"]
SETTINGS = [*NETWORK, "--batch-size", "60", "--train-images", "300", "--learning-rate", "0.001", "--epochs", "2"]
SECONDS = 300  # until a process must have come so far, on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("devices")


@pytest.fixture(scope="module")
def train(folder):
    """Starts train.py: `train("output", *flags)`. Without flags that run goes on."""
    started = []

    def start(output, *flags, backend="jax", devices=1):
        log = open(folder / f"{len(started)}.log", "w+")  # noqa: SIM115
        command = [sys.executable, str(ROOT / "recipes/train.py"), *flags]
        command += ["--output" if flags else "--resume", str(folder / output)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_NUM_CPU_DEVICES": str(devices)}
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=environment)
        started.append(process)
        process.log = log
        return process

    yield start
    for process in started:
        process.kill()
        process.log.close()


@pytest.fixture(scope="module")
def one_device(train, folder):
    check_finished(train("one", *SETTINGS))
    return folder / "one"


def printed(process):
    process.log.seek(0)
    return process.log.read()


def hosts():
    """The flags of two hosts at free addresses of this machine."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{found.getsockname()[1]}" for found in (one, other)]
    common = ["--distribute", "--hosts", *addresses]
    return [[*common, "--rank", str(rank)] for rank in (0, 1)]


def history(folder):
    return RunDirectory(folder).read_history()


def check_finished(*processes):
    for process in processes:
        assert process.wait(SECONDS) == 0, printed(process)


def check_same_history(one, two):
    assert len(history(two)) == 2
    for alone, together in zip(history(one), history(two)):
        np.testing.assert_allclose(list(together.values()), list(alone.values()), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_devices_of_one_host_have_the_losses_of_one(train, one_device, folder):
    odd = train("odd", *SETTINGS, "--distribute", "--batch-size", "65", devices=2)
    assert odd.wait(SECONDS) == 2
    assert "--batch-size must be a multiple of 2, the number of devices. Received: 65" in printed(odd)
    # Of 144 validation images, five devices are left with 24 at the end.
    check_finished(train("five", *SETTINGS, "--distribute", devices=5))
    check_same_history(one_device, folder / "five")
    # All devices were in use: they add up in another order.
    assert history(folder / "five") != history(one_device)


@pytest.mark.slow
def test_two_hosts_have_the_losses_of_one(train, one_device, folder):
    two = folder / "two"
    check_finished(*[train("two", *SETTINGS, *flags) for flags in hosts()])
    check_same_history(one_device, two)
    # Only the first writes, and what it writes is a run like any other.
    assert {file.name for file in two.iterdir()} == {file.name for file in one_device.iterdir()}
    assert (two / "config.json").read_text() == (one_device / "config.json").read_text()


@pytest.mark.slow
def test_a_lost_host_ends_the_other_and_a_resumed_run_goes_on(train, folder):
    """The lost one is the first, which writes the files. Where a run takes place may change when it goes on."""
    run = folder / "run"
    processes = [train("run", *SETTINGS, "--epochs", "12", *flags) for flags in hosts()]
    end = time.monotonic() + SECONDS
    while not (run / "history.csv").exists() or len(history(run)) < 2:
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[0].send_signal(signal.SIGKILL)
    # JAX ends it, which takes half a minute at most.
    assert processes[1].wait(SECONDS) != 0
    check_finished(train("run"))
    assert [row["epoch"] for row in history(run)] == list(range(12))


# Two devices on a machine with one processor.
LOGICAL = """
import tensorflow as tf
(processor,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
"""


@pytest.mark.slow
def test_two_devices_of_one_machine_with_tensorflow(tmp_path):
    """Each normalises its own half of a batch, so losses agree to 0.4 %; gradients of half or twice the size would
    change them by 4 %, as such learning rates do.
    """
    flags = [*SETTINGS, "--learning-rate", "0.02", "--warmup-epochs", "0", "--epochs", "3"]
    losses = {}
    for name, distribute in {"one": [], "two": ["--distribute"]}.items():
        python(LOGICAL + RUN, ROOT / "recipes/train.py", *flags, *distribute, "--output", tmp_path / name)
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
    process = train("numpy", *SETTINGS, "--distribute", backend="numpy")
    assert process.wait(SECONDS) == 2
    assert "--distribute needs KERAS_BACKEND to be tensorflow or jax. Received: numpy" in printed(process)
