"""A network in a file: one holds weights, optimizer and, by the optimizer's step count, the epoch of a training."""

import pathlib

import keras

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.model import DDNN


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


def load_network(path):
    """The network in a `.keras` file.

    Args:
        path: The file, as `Checkpoint` or `DDNN.save` wrote it.

    Returns:
        A `DDNN`, compiled if it was when saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated, or holds another kind of model.
    """
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"There is no model file {path}.")
    try:
        model = keras.saving.load_model(path)
    # A damaged file may raise almost anything: zip, HDF5 and JSON errors among them.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is not a whole Keras model file: {reason}") from error
    if not isinstance(model, DDNN):
        raise ValueError(f"{path} must hold a ddnn_keras.DDNN. It holds a {type(model).__name__}.")
    return model
