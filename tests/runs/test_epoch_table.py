import contextlib
import io
import re
import sys

from ddnn_keras.runs.epoch_table import EpochTable
from ddnn_keras.runs.run_directory import RunDirectory


def test_rows_in_a_pipe(finished_run):
    lines = finished_run.with_name("printed").read_text().splitlines()
    assert lines[0] == f"Run directory: {finished_run}"
    numbers = "Images: 1,293 for training, 144 for validation, 360 for testing."
    assert lines[1] == f"{numbers} 10 classes: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert lines[3].split() == ["epoch", "time", "loss", "10", "18"]
    for line, row in zip(lines[4:7], RunDirectory(finished_run).read_history(), strict=True):
        epoch, _, _, loss, *accuracies = line.split()
        assert epoch == f"{row['epoch'] + 1:.0f}/3"
        assert loss == f"{row['loss']:.4f}"
        assert accuracies == [f"{row[f'val_depth_{depth}_accuracy']:.1%}" for depth in (10, 18)]
    assert "test accuracy" in lines[8]  # nothing but the results follows


def test_a_bar_on_a_terminal_which_is_left_in_order(monkeypatch):
    """As of a training that is interrupted in its second epoch."""
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with contextlib.closing(EpochTable([8], epochs=2)) as table:
        table.set_params({"steps": 10})
        table.on_train_begin()
        table.on_epoch_begin(0)
        table.on_epoch_end(0, {"loss": 1.0, "val_accuracy": 0.5})
        table.on_epoch_begin(1)
        table.on_train_batch_end(4)
    text = terminal.getvalue()
    assert "epoch 1" in text and "/10" in text and "━" in text and re.search(r"1/2 .*50\.0%", text)
    # The cursor is hidden under the bar.
    assert text.count("\x1b[?25h") == text.count("\x1b[?25l") > 0
