"""What was frozen or changed in layers stays so, wherever a network goes from there."""

import copy
import pickle
import warnings

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


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_network_that_was_called(copied):
    model = network(convolutional)
    model.compile("adam", distillation=EKD())
    logits, found = model(DIGITS[0]), copied(model)
    assert trainable_names(found) == trainable_names(model)
    np.testing.assert_array_equal(found(DIGITS[0])["depth_8"], logits["depth_8"])


def test_a_whole_network(tmp_path):
    model = network()
    model.trainable = False
    model.get_layer("depth_8").trainable = True
    loaded = saved_and_loaded(model, tmp_path)
    assert not loaded.trainable and loaded.trainable_variables == []
    assert [layer.name for layer in loaded.layers if layer.weights and layer.trainable] == ["depth_8"]


def test_one_depth_of_a_densenet(tmp_path):
    """Kernels are made of pieces, of which layers share some."""
    model = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 1, 1)}, "densenet", width=4, input_shape=(16, 16, 1))
    number = len(model.trainable_variables)
    for layer in model.layers:
        layer.trainable = False
    for layer in model.subnet("a").layers:
        layer.trainable = True
    assert 0 < len(model.trainable_variables) < number
    loaded = saved_and_loaded(model, tmp_path)
    assert trainable_names(loaded) == trainable_names(model)


def test_a_quantization_aware_copy_has_the_same_frozen_layers_and_regularizers():
    model = network(lambda layer: layer.name in ("stem_conv", "stage1_block1_conv1", "depth_8"))
    regularize(model)
    rounded = quantization_aware(model, DIGITS[0])
    assert not any(rounded.get_layer(layer.name).trainable for layer in model.layers if not layer.trainable)
    assert len(rounded.trainable_variables) == len(model.trainable_variables) < len(network().trainable_variables)
    losses = [float(sum(each.losses)) for each in (model, rounded)]
    assert losses[0] > 1 and losses[1] == pytest.approx(losses[0])


def test_a_frozen_quantization_aware_network_keeps_its_ranges(tmp_path):
    model = quantization_aware(network(), DIGITS[0])
    for layer in model.layers[::2]:
        layer.trainable = False
    ranges = [layer for layer in model.layers if isinstance(layer, FakeQuantization)]
    loaded = [layer for layer in saved_and_loaded(model, tmp_path).layers if isinstance(layer, FakeQuantization)]
    assert {layer.trainable for layer in ranges} == {True, False}
    assert [layer.trainable for layer in loaded] == [layer.trainable for layer in ranges]


def test_changed_normalisations_and_dropouts_are_saved(tmp_path):
    model = DDNN((11, 16), "vgg", width=2, num_classes=3, input_shape=(32, 32, 1), stem="imagenet")
    assert model.get_config()["layer_settings"] == {}
    changed = model.get_layer("stage1_block1_bn_depth_16")
    changed.momentum, changed.epsilon = 0.99, 0.5
    for dropout in dropouts(model)[1:]:
        dropout.rate = 0.125
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.get_config() == model.get_config()
    assert loaded.get_layer("stage1_block1_bn_depth_16").momentum == 0.99
    assert [dropout.rate for dropout in dropouts(loaded)] == [0.5, 0.125, 0.125, 0.125]
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1))
    np.testing.assert_array_equal(*(network(images)["depth_16"] for network in (loaded, model)))


def regularize(model):
    for layer in filter(convolutional, model.layers):
        # Keras makes no use of the first after the layer is built, and saves no second of a plain model.
        layer.kernel_regularizer = layer.kernel.regularizer = keras.regularizers.L2(0.1)


def change_types(model):
    model.get_layer("stem_conv").dtype_policy = "mixed_bfloat16"


def quantize_classifier(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tells of every layer that it cannot quantize
        model.subnet(8).quantize("int8")


def change_activations(model):
    model.get_layer("depth_8").activation = keras.activations.gelu
    next(layer for layer in model.layers if isinstance(layer, keras.layers.ReLU)).max_value = 1.0


@pytest.mark.parametrize("change", [regularize, change_types, quantize_classifier, change_activations])
def test_a_network_with_changed_layers_comes_back_as_the_same(change, tmp_path):
    model = network()
    model.compile("sgd", run_eagerly=True)
    before = model.evaluate(*DIGITS, verbose=0)
    change(model)
    wanted = model.evaluate(*DIGITS, verbose=0)
    assert wanted != before
    loaded = saved_and_loaded(model, tmp_path)
    assert loaded.get_config() == model.get_config()
    assert loaded.evaluate(*DIGITS, verbose=0) == wanted


def test_what_a_loaded_network_cannot_take_over_is_refused(tmp_path):
    model = network()
    model.get_layer("depth_8").enable_lora(2)
    with pytest.raises(ValueError, match=r"^`enable_lora` must not be used: .* Received: depth_8$"):
        model.save(tmp_path / "model.keras")


def dropouts(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
