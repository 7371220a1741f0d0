"""Training that survives a kill: one file holds weights, optimizer and, by the optimizer's step count, the epoch."""

import keras

from ddnn_keras.atomic_write import atomic_write


class Checkpoint(keras.callbacks.Callback):
    """Saves the compiled model after every epoch, under its final name only when complete.

    Keras' own `ModelCheckpoint` writes into the final file, which a kill leaves truncated.

    Args:
        path: A file that ends in `.keras`.
    """

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        """Saves the model."""
        with atomic_write(self.path) as temporary:
            self.model.save(temporary)


def finished_epochs(model, steps_per_epoch):
    """How many epochs a compiled model has been trained for.

    Args:
        model: A compiled `keras.Model`.
        steps_per_epoch: Updates in an epoch, a positive integer.

    Returns:
        An integer.
    """
    return int(model.optimizer.iterations) // steps_per_epoch
