"""The network of the epoch with the best mean validation accuracy of all depths, and when to stop."""

import shutil

import keras
import numpy as np

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.runs.checkpoint import Checkpoint, load_network


class BestEpoch(keras.callbacks.Callback):
    """Keeps the best epoch's network, and ends a training that has not become better for some epochs.

    All that it knows is in the run directory, so that a resumed run goes on as it was. It stands behind the callbacks
    that write there. It is patient for `patience` epochs, and does not count the first `head_epochs`.
    """

    def __init__(self, run_directory, output_keys, patience, head_epochs=0):
        super().__init__()
        self._run_directory, self._patience, self._head_epochs = run_directory, patience, head_epochs
        # Keras drops the prefix where there is one output.
        self._names = [f"val_{key}_accuracy" for key in output_keys] if len(output_keys) > 1 else ["val_accuracy"]

    def on_train_begin(self, logs=None):
        """Keeps the newest epoch of a run that ended before it was kept, for instance because the disk was full."""
        self._keep_newest()

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the epoch's validation. Of epochs that are as good as each other, the last is kept."""
        self._keep_newest()
        self.model.stop_training = self.is_past()
        if self.model.stop_training:
            print(f"Stopped: no epoch of the last {self._patience} was as good as the best.")

    def _keep_newest(self):
        means = self._means()
        if means and means[-1] == max(means):
            with atomic_write(self._run_directory.best) as temporary:
                shutil.copyfile(self._run_directory.model, temporary)

    def is_past(self):
        """Whether the training has ended early. An epoch as good as the best one counts as better."""
        means = self._means()
        return len(means) > 0 and min(int(np.argmax(means[::-1])), len(means) - self._head_epochs) >= self._patience

    def restore(self, model, finished_epochs):
        """Gives a model the best epoch's weights, and saves it as the network of a finished run."""
        # A run that ended right after its last epoch comes here without training on.
        self._keep_newest()
        if self._run_directory.best.exists():
            model.set_weights(load_network(self._run_directory.best, compile=False).get_weights())
            checkpoint = Checkpoint(self._run_directory.model)
            checkpoint.set_model(model)
            checkpoint.on_train_begin()
            checkpoint.save(finished_epochs)
            self._run_directory.best.unlink()

    def _means(self):
        return [np.mean([row[name] for name in self._names]) for row in self._run_directory.read_history()]
