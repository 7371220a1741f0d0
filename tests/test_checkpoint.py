import keras
import numpy as np
import pytest

from ddnn_keras import DDNN
from ddnn_keras.checkpoint import Checkpoint, finished_epochs, load_network


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.keras"
    model = DDNN(depths={"a": (1, 1, 1, 1)}, width=2, input_shape=(8, 8, 1))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    images, labels = np.zeros((12, 8, 8, 1)), np.arange(12) % 10
    model.fit(images, labels, batch_size=4, epochs=2, callbacks=[Checkpoint(path)], verbose=0)
    return model, path


def test_the_last_epoch_is_saved_whole(saved):
    model, path = saved
    loaded = load_network(path)
    assert finished_epochs(path) == 2
    for ours, theirs in zip(model.get_weights(), loaded.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert [file.name for file in path.parent.iterdir()] == ["model.keras"]


def test_a_file_of_other_making_does_not_tell_its_epoch(saved, tmp_path):
    saved[0].save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="does not say how far"):
        finished_epochs(tmp_path / "model.keras")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no model file .*nothing.keras"):
        load_network(tmp_path / "nothing.keras")


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_truncated_file(saved, tmp_path, size):
    path = tmp_path / "model.keras"
    path.write_bytes(saved[1].read_bytes()[:size])
    with pytest.raises(ValueError, match=r"model.keras is not a whole Keras model file") as error:
        load_network(path)
    assert "\n" not in str(error.value)


def test_another_kind_of_model(tmp_path):
    path = tmp_path / "other.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    with pytest.raises(ValueError, match=r"must hold a ddnn_keras.DDNN. It holds a Sequential"):
        load_network(path)
