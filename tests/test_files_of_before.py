"""Files of commit b3ec931, from before the first release, still load and go on."""

import pathlib

import keras
import numpy as np
import pytest

from ddnn_keras import EKD

FOLDER = pathlib.Path(__file__).parent / "files_of_before"
IMAGES = np.random.default_rng(0).uniform(0, 255, (32, 16, 16, 1)).astype("float32")


@pytest.fixture
def network():
    """ResNet-8 and 14 after one step, with a frozen first convolution and a momentum of 0.8."""
    return keras.saving.load_model(FOLDER / "network.keras")


def test_a_network_has_the_same_logits(network):
    expected = np.load(FOLDER / "logits.npz")
    for key, logits in network(IMAGES[:4]).items():
        np.testing.assert_allclose(logits, expected[key], rtol=1e-5, atol=1e-5)


def test_a_network_goes_on_with_its_training(network):
    assert network.distillation == EKD(kl_weight=0.5)
    assert network.get_layer("stem_bn_depth_14").momentum == 0.8
    assert network.optimizer.momentum == 0.9 and network.optimizer.weight_decay == 1e-3
    assert int(network.optimizer.iterations) == 1
    # Beside the iterations, the state is the momentum of every trainable variable.
    momenta = network.optimizer.variables[1:]
    assert len(momenta) == len(network.trainable_variables) and all(np.any(momentum) for momentum in momenta)
    frozen, trained = (network.get_layer(name).get_weights()[0] for name in ("stem_conv", "depth_8"))
    logs = network.fit(IMAGES, np.arange(32) % 10, verbose=0).history
    assert {"depth_8_accuracy", "depth_8_kl_loss", "depth_8_attention_loss"} <= logs.keys()
    np.testing.assert_array_equal(network.get_layer("stem_conv").get_weights()[0], frozen)
    assert not np.array_equal(network.get_layer("depth_8").get_weights()[0], trained)
