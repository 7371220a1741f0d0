import json
import zipfile

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN
from ddnn_keras.backbones import make_backbone
from ddnn_keras.runs.checkpoint import PROGRESS, Checkpoint, load_network, read_progress, resume


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.keras"
    model = DDNN(depths={"a": (1, 1, 1, 1)}, width=2, input_shape=(8, 8, 1))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), jit_compile=False)
    images, labels = np.zeros((12, 8, 8, 1)), np.arange(12) % 10
    model.fit(images, labels, batch_size=4, epochs=2, callbacks=[Checkpoint(path)], verbose=0)
    return model, path


def test_a_file_of_other_making_does_not_tell_its_epoch(saved, tmp_path):
    saved[0].save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="does not say how far"):
        read_progress(tmp_path / "model.keras")


def test_the_time_of_all_processes_adds_up(saved, tmp_path):
    assert read_progress(saved[1])["seconds"] > 0
    path = tmp_path / "model.keras"
    # As if the first process had taken a thousand seconds.
    with zipfile.ZipFile(saved[1]) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            content = source.read(name)
            copy.writestr(name, json.dumps({**json.loads(content), "seconds": 1000.0}) if name == PROGRESS else content)
    goes_on, _ = resume(path)
    images, labels = np.zeros((12, 8, 8, 1)), np.arange(12) % 10
    goes_on.fit(images, labels, batch_size=4, callbacks=[Checkpoint(path)], verbose=0)
    assert read_progress(path)["seconds"] > 1000


def test_dropout_goes_on_as_if_never_interrupted(tmp_path):
    def network():
        keras.utils.set_random_seed(0)
        model = DDNN(depths={"a": (1, 1, 1, 1, 1)}, backbone="vgg", width=2, input_shape=(32, 32, 1), stem="imagenet")
        model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
        return model

    images, labels = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 1)), np.arange(8)
    path = tmp_path / "model.keras"
    whole = network()
    losses = whole.fit(images, labels, epochs=3, shuffle=False, callbacks=[Checkpoint(path)], verbose=0).history["loss"]
    interrupted = network()
    interrupted.fit(images, labels, epochs=1, shuffle=False, callbacks=[Checkpoint(path)], verbose=0)
    resumed, epochs = resume(path)
    assert epochs == 1
    assert resumed.fit(images, labels, epochs=2, shuffle=False, verbose=0).history["loss"] == losses[1:]


def test_a_class_that_was_not_imported(tmp_path, monkeypatch):
    class Backbone(type(make_backbone("resnet"))):
        def get_config(self):
            return {"width": self.width, "stem": "cifar"}

        @classmethod
        def from_config(cls, config):
            return cls(**config)

    keras.saving.register_keras_serializable("unknown")(Backbone)
    DDNN(depths=(10,), backbone=Backbone(2, "cifar")).save(tmp_path / "model.keras")
    monkeypatch.delitem(keras.saving.get_custom_objects(), "unknown>Backbone")
    with pytest.raises(ValueError, match=r"model.keras needs the class \w+ of yours: import its module before"):
        load_network(tmp_path / "model.keras")


def test_a_truncated_file(saved, tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(saved[1].read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"model.keras is not a whole Keras model file") as error:
        load_network(path)
    assert "\n" not in str(error.value)
