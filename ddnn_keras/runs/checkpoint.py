"""A network in a file, with all that a training needs to go on: weights, optimizer, epoch and random states.

The order and the augmentation of images need no state. They follow from the seed and the epoch: `train` in
`data/tensorflow_pipeline.py` and `data/array_pipeline.py`, and `batches` in `finetuning.py` for what fine-tuning adds.
"""

import contextlib
import json
import pathlib
import re
import time
import zipfile

import keras

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.model import DDNN

# A .keras file is a zip archive, in which Keras minds only its own members.
PROGRESS = "ddnn_progress.json"


class Checkpoint(keras.callbacks.Callback):
    """Saves the compiled model, random states, epoch and time after every epoch, as one file that is always whole.

    Keras' own `ModelCheckpoint` writes into the final file, which a kill leaves truncated.
    """

    def __init__(self, path):
        super().__init__()
        self.path = pathlib.Path(path)
        self._begin = None

    def on_train_begin(self, logs=None):
        """Starts the clock, at the time that the network in the file has behind it."""
        self._begin = time.monotonic() - (read_progress(self.path)["seconds"] if self.path.exists() else 0)

    def on_epoch_end(self, epoch, logs=None):
        """Saves the model."""
        self.save(epoch + 1)

    def save(self, finished_epochs):
        """Saves the model as it is after so many epochs."""
        with atomic_write(self.path) as temporary, without_distribution():
            self.model.save(temporary)
            with zipfile.ZipFile(temporary, "a") as archive:
                states = [keras.ops.convert_to_numpy(state).tolist() for state in random_states(self.model)]
                progress = {"finished_epochs": finished_epochs, "random_states": states}
                progress["seconds"] = round(time.monotonic() - self._begin, 1)
                archive.writestr(PROGRESS, json.dumps(progress))


@contextlib.contextmanager
def without_distribution():
    """A context without Keras' distribution, in which tensors are made in step with all other hosts."""
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def resume(path):
    """The network in a file that `Checkpoint` wrote, with its random states, and how many epochs it was trained for."""
    model, progress = load_network(path), read_progress(path)
    for variable, value in zip(random_states(model), progress["random_states"]):
        variable.assign(value)
    return model, progress["finished_epochs"]


def random_states(model):
    """The states of all random generators within a model, such as dropout's, which Keras does not save."""
    return [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]


def read_progress(path):
    """What `Checkpoint` wrote besides the network. Raises a `ValueError` if something else wrote the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(PROGRESS))
    except (KeyError, zipfile.BadZipFile):
        raise ValueError(f"{path} does not say how far its training came: recipes/train.py did not write it.") from None


def load_network(path, compile=True):
    """The `DDNN` in a `.keras` file. To compile it needs the losses and metrics that it was compiled with."""
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"There is no model file {path}.")
    try:
        model = keras.saving.load_model(path, compile=compile)
    # A damaged file may raise almost anything: zip, HDF5 and JSON errors among them.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if missing := re.search(r"Could not locate (\w+) '([^']+)'", str(error)):
            raise ValueError(
                f"{path} needs the {' '.join(missing.groups())} of yours: import its module before you load the file."
            ) from error
        raise ValueError(f"{path} is not a whole Keras model file: {reason}") from error
    if not isinstance(model, DDNN):
        raise ValueError(f"{path} must hold a ddnn_keras.DDNN. It holds a {type(model).__name__}.")
    return model
