"""What was frozen stays so, wherever a network goes from there."""

import copy
import pickle

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.quantization_aware import FakeQuantization, quantization_aware

DIGITS = np.random.default_rng(0).uniform(0, 255, (16, 16, 16, 1)), np.arange(16) % 10


def network(frozen=lambda layer: False):
    model = DDNN((8, 14), "resnet_cifar", width=4, input_shape=(16, 16, 1))
    for layer in model.layers:
        layer.trainable = not frozen(layer)
    return model


def convolutional(layer):
    return isinstance(layer, keras.layers.Conv2D)


def saved_and_loaded(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def trainable_names(model):
    return [variable.path for variable in model.trainable_variables]


def test_a_saved_network_goes_on_with_its_frozen_layers_and_its_optimizer(tmp_path):
    model = network(convolutional)
    model.compile("adam", distillation=EKD(), jit_compile=False)
    model.fit(*DIGITS, verbose=0)
    kernels = [layer.get_weights() for layer in filter(convolutional, model.layers)]
    loaded = saved_and_loaded(model, tmp_path)
    assert trainable_names(loaded) == trainable_names(model)
    assert int(loaded.optimizer.iterations) == 1
    histories = [each.fit(*DIGITS, epochs=2, shuffle=False, verbose=0).history for each in (model, loaded)]
    np.testing.assert_allclose(*(history["loss"] for history in histories), rtol=1e-4)
    np.testing.assert_equal([layer.get_weights() for layer in filter(convolutional, loaded.layers)], kernels)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(copied):
    model = network(convolutional)
    assert trainable_names(copied(model)) == trainable_names(model)


def test_a_whole_network(tmp_path):
    model = network()
    model.trainable = False
    model.get_layer("depth_8").trainable = True
    loaded = saved_and_loaded(model, tmp_path)
    assert not loaded.trainable and loaded.trainable_variables == []
    assert [layer.name for layer in loaded.layers if layer.weights and layer.trainable] == ["depth_8"]


def densenet():
    """Kernels are made of pieces, of which layers share some."""
    return DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 1, 1)}, "densenet", width=4, input_shape=(16, 16, 1))


def test_one_depth_of_a_densenet(tmp_path):
    model = densenet()
    for layer in model.layers:
        layer.trainable = False
    for layer in model.subnet("a").layers:
        layer.trainable = True
    assert 0 < len(model.trainable_variables) < len(densenet().trainable_variables)
    model.compile("adam", jit_compile=False)
    model.fit(*DIGITS, verbose=0)
    loaded = saved_and_loaded(model, tmp_path)
    assert trainable_names(loaded) == trainable_names(model)
    assert int(loaded.optimizer.iterations) == 1


@keras.saving.register_keras_serializable("tests")
class Nested:
    """A backbone of one's own with layers within layers within layers, to which Keras gives names."""

    num_stages = 1

    def __init__(self):
        self.DEPTHS = {1: (1,), 2: (2,)}

    def stem(self, path, x):
        return x

    def block(self, path, x, stage, index):
        layers = [keras.Sequential([keras.layers.Conv2D(2, 3, padding="same")]), keras.layers.BatchNormalization()]
        return path.shared(lambda name, dtype: keras.Sequential(layers, name=name), f"outer{index}")(x)

    def head(self, path, x):
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls()


def test_layers_within_layers():
    def made():
        return DDNN((1, 2), Nested(), num_classes=3, input_shape=(8, 8, 2))

    model = made()
    within, all_of_it = model.get_layer("outer0"), made().get_config()
    assert (all_of_it["frozen_layers"], all_of_it["layers_within"]) == ([], {})
    within.layers[0].layers[0].trainable = False
    model.get_layer("outer1").trainable = False
    model.get_layer("outer1").layers[1].trainable = True
    config = model.get_config()
    assert config["layers_within"] == {"outer0/1/1": False, "outer1/2": True}
    again = DDNN.from_config(config)
    assert not again.get_layer("outer0").layers[0].layers[0].trainable
    assert not again.get_layer("outer1").layers[0].trainable and again.get_layer("outer1").layers[1].trainable
    assert len(again.trainable_variables) == len(model.trainable_variables)
    # Its kernel and bias, and those in the other.
    assert len(model.trainable_variables) == len(made().trainable_variables) - 4


def test_a_configuration_of_before_this_was_kept():
    config = network(convolutional).get_config()
    for name in ("trainable", "frozen_layers", "layers_within"):
        del config[name]
    assert trainable_names(DDNN.from_config(config)) == trainable_names(network())


def test_a_quantization_aware_copy():
    rounded = quantization_aware(network(convolutional), DIGITS[0])
    assert all(not rounded.get_layer(layer.name).trainable for layer in filter(convolutional, network().layers))
    assert {name.rpartition("/")[2] for name in trainable_names(rounded)} >= {"gamma", "beta"}
    assert len(rounded.trainable_variables) == len(network(convolutional).trainable_variables)


def test_a_frozen_quantization_aware_network_keeps_its_ranges(tmp_path):
    model = quantization_aware(network(), DIGITS[0])
    for layer in model.layers[::2]:
        layer.trainable = False
    ranges = [layer for layer in model.layers if isinstance(layer, FakeQuantization)]
    loaded = [layer for layer in saved_and_loaded(model, tmp_path).layers if isinstance(layer, FakeQuantization)]
    assert {layer.trainable for layer in ranges} == {True, False}
    assert [layer.trainable for layer in loaded] == [layer.trainable for layer in ranges]
