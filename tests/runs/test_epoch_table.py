"""What a training prints: rows in a pipe, and a bar besides on a terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import ROOT

from ddnn_keras.runs.run_directory import RunDirectory


def test_rows_in_a_pipe(finished_run):
    lines = finished_run.with_name("printed").read_text().splitlines()
    assert lines[0] == f"Run directory: {finished_run}"
    assert lines[2].split() == ["epoch", "time", "loss", "10", "18"]
    for line, row in zip(lines[3:6], RunDirectory(finished_run).read_history(), strict=True):
        epoch, _, _, loss, *accuracies = line.split()
        assert epoch == f"{row['epoch'] + 1:.0f}/3"
        assert loss == f"{row['loss']:.4f}"
        assert accuracies == [f"{row[f'val_depth_{depth}_accuracy']:.1%}" for depth in (10, 18)]
    assert "test accuracy" in lines[7]  # nothing but the results follows


TRAINING = """
import numpy as np
from ddnn_keras import DDNN
from ddnn_keras.runs.epoch_table import EpochTable
model = DDNN((8,), "resnet_cifar", width=2, input_shape=(8, 8, 1))
model.compile("sgd", metrics=["accuracy"], jit_compile=False)
data = np.zeros((40, 8, 8, 1)), np.zeros(40)
with EpochTable(model.depths) as table:
    model.fit(*data, batch_size=4, epochs=2, validation_data=data, callbacks=[table], verbose=0)
    raise KeyboardInterrupt
"""


@pytest.mark.slow
def test_a_bar_on_a_terminal_which_is_left_in_order():
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    command = [sys.executable, "-c", TRAINING]
    with subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        written = b""
        # The end of a pseudo-terminal is an error on Linux.
        while chunk := read(ours):
            written += chunk
    os.close(ours)
    text = written.decode()
    assert process.returncode != 0
    assert "epoch 1" in text and "/10" in text and "━" in text
    assert len(re.findall(r"^\s*[12]/2 .*%", without_codes(text), re.MULTILINE)) == 2
    # The cursor is hidden under the bar.
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") > 0


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def without_codes(text):
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).replace("\r", "")
