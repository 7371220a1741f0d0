"""What a training shows while it runs: one row for each epoch, and on a terminal a bar for the epoch that runs."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from ddnn_keras.depths import output_key


class EpochTable(keras.callbacks.Callback):
    """Prints epoch, time, loss and each depth's validation accuracy. `history.csv` has everything else."""

    def __init__(self, depths, epochs):
        super().__init__()
        self._epochs = epochs
        # A row of ten depths takes 97 columns.
        self._columns = {f" {depth}".rjust(7): output_key(depth) for depth in depths}
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = self._begin = None

    def on_train_begin(self, logs=None):
        """Prints the head of the table."""
        self._console.print(" " * 27 + "validation accuracy of depth")
        self._console.print(f"{'epoch':>9}{'time':>9}{'loss':>9}" + "".join(self._columns))

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock and the bar."""
        self._begin = time.monotonic()
        columns = f"epoch {epoch + 1}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        hidden = not self._console.file.isatty()
        self._bar = Progress(*columns, console=self._console, transient=True, disable=hidden)
        self._bar.add_task("", total=self.params["steps"])
        self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        """Moves the bar. The logs stay unread: reading them would wait for the device."""
        self._bar.update(self._bar.task_ids[0], completed=batch + 1)

    def on_epoch_end(self, epoch, logs=None):
        """Prints the epoch's row."""
        self.close()
        progress = f"{epoch + 1}/{self._epochs}"
        seconds = f"{time.monotonic() - self._begin:.1f} s"
        # Keras drops the prefix where there is one output.
        found = [logs.get(f"val_{key}_accuracy", logs.get("val_accuracy")) for key in self._columns.values()]
        cells = ["" if value is None else f"{value:.1%}" for value in found]
        accuracies = [cell.rjust(len(name)) for cell, name in zip(cells, self._columns)]
        self._console.print((f"{progress:>9}{seconds:>9}{logs['loss']:>9.4f}" + "".join(accuracies)).rstrip())

    def close(self):
        """Takes the bar off the terminal, also when a training fails or is interrupted."""
        if self._bar and not self._bar.disable:  # older versions of rich print an empty line
            self._bar.stop()
