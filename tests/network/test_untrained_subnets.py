"""Blocks that were not trained together: whose weights they have, and what calibration may touch."""

import keras
import numpy as np
import pytest
from keras import ops
from small_networks import held_out, trained_ddnn, training, untrained_ddnn

from ddnn_keras import DDNN
from ddnn_keras.network.cost import count_macs, count_parameters
from ddnn_keras.quantization_aware import quantization_aware


def accuracy(subnet):
    images, labels = held_out()
    return np.mean(np.argmax(subnet(images), -1) == labels)


def weights_of(model):
    return {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}


def test_calibration_is_what_makes_a_combination_work():
    model, images, blocks = trained_ddnn(), training()[0][:300], (1, 2, 2)
    before, raw = weights_of(model), accuracy(model.subnet(blocks))
    subnet = model.calibrate(images, blocks)
    assert accuracy(subnet) > max(0.8, raw + 0.05)
    assert subnet is model.subnet(blocks)
    np.testing.assert_equal(weights_of(model), before)


def test_it_has_the_convolutions_of_the_network_and_only_its_own_blocks():
    model = trained_ddnn()
    subnet = model.subnet((2, 1, 2))
    kernels = [layer for layer in subnet.layers if hasattr(layer, "kernel")]
    # The stem, five blocks of two convolutions, two projections, the classifier.
    assert len(kernels) == 1 + 5 * 2 + 2 + 1
    assert all(layer is model.get_layer(layer.name) for layer in kernels)
    alone = DDNN({"mine": (2, 1, 2)}, "resnet_cifar", input_shape=(16, 16, 1), width=16).subnet("mine")
    assert (count_parameters(subnet), count_macs(subnet)) == (count_parameters(alone), count_macs(alone))


def test_statistics_are_those_of_its_own_activations():
    model, images = trained_ddnn(), training()[0][:100]
    subnet = model.calibrate(images, (1, 2, 2))
    name = "stage2_block1_bn1"
    (layer,) = (layer for layer in subnet.layers if layer.name.startswith(name))
    inputs = keras.Model(subnet.input, layer.input)(images, training=False)
    # Every activation before is as trained, so the first statistics are exactly those of the images.
    np.testing.assert_allclose(layer.moving_mean, ops.mean(inputs, (0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, ops.var(inputs, (0, 1, 2)), rtol=1e-3, atol=1e-4)
    assert layer.momentum == model.get_layer(f"{name}_depth_14").momentum
    # The first stage is as in depth 14 until it parts.
    for early in (layer for layer in subnet.layers if layer.name.startswith(("stem_bn", "stage1"))):
        if isinstance(early, keras.layers.BatchNormalization):
            source = model.get_layer(early.name.replace("depth_1_2_2", "depth_14"))
            np.testing.assert_equal(early.get_weights(), source.get_weights())


def test_trained_depths_by_their_blocks_are_not_calibrated():
    model = untrained_ddnn((8, 20), width=4)
    assert model.subnet((1, 1, 1)).name == "depth_8"
    for depth in (20, (3, 3, 3)):
        with pytest.raises(ValueError, match=r"^`depth` must be an untrained one, .* Received: 20$"):
            model.calibrate(training()[0][:100], depth)


def test_calibration_after_more_training_sees_all_that_changed(tmp_path):
    model, images = untrained_ddnn((8, 20), width=4), training()[0]
    model.calibrate(images[:64], (1, 3, 2))
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    model.fit(images[:64], training()[1][:64], verbose=0)
    found = model.calibrate(images[:64], (1, 3, 2))(images[:8])
    model.save(tmp_path / "model.keras")
    expected = keras.saving.load_model(tmp_path / "model.keras").calibrate(images[:64], (1, 3, 2))(images[:8])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_frozen_network_is_calibrated_and_stays_frozen():
    images, blocks = training()[0][:100], (1, 3, 2)
    free, frozen = untrained_ddnn((8, 20), width=4), untrained_ddnn((8, 20), width=4)
    frozen.trainable = False
    subnet = frozen.calibrate(images, blocks)
    np.testing.assert_equal(weights_of(subnet), weights_of(free.calibrate(images, blocks)))
    assert not frozen.trainable_weights and not subnet.trainable_weights


def test_mixed_precision_and_other_families():
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    for backbone, depths, blocks in [
        ("vgg", (11, 16), (1, 2, 2, 3, 2)),
        ("mobilenet_v2", (23, 38), (1, 2, 1, 2, 1, 2, 1)),
    ]:
        model = DDNN(depths, backbone, width=8, dtype="mixed_bfloat16")
        assert np.isfinite(model.calibrate(images, blocks)(images)).all()


def test_depths_whose_names_end_in_one_another():
    model = DDNN({"a": (1, 1, 1), "b_depth_a": (2, 2, 2)}, "resnet_cifar", width=2, input_shape=(8, 8, 1))
    assert model.subnet((1, 2, 1)).output_shape == (None, 10)


def test_a_combination_can_be_saved(tmp_path):
    model, images = trained_ddnn(), held_out(20)[0]
    subnet = model.calibrate(training()[0][:100], (2, 2, 1))
    subnet.save(tmp_path / "subnet.keras")
    loaded = keras.saving.load_model(tmp_path / "subnet.keras")
    np.testing.assert_allclose(loaded(images), subnet(images), atol=1e-5)


@pytest.mark.parametrize("blocks", [(1, 1), (0, 1, 1), (3, 1, 1), (1.5, 1, 1), (True, 1, 1)])
def test_blocks_that_the_network_does_not_hold(blocks):
    with pytest.raises(ValueError, match=r"^`depth` must be blocks per stage, from \(1, 1, 1\) to \(2, 2, 2\)\. Rec"):
        trained_ddnn().subnet(blocks)


def test_other_mistakes():
    for depth in ({8}, {"depth": 8}, np.array(8.5), 8.0, np.float64(8), True, ((1, 2), 3, 4)):
        with pytest.raises(ValueError, match=r"^`depth` must be (one of 8, 14, or )?blocks per stage"):
            trained_ddnn().subnet(depth)
    with pytest.raises(ValueError, match=r"^`depth` must be one of 8, 14, or blocks per stage\. Received: depth=50"):
        trained_ddnn().calibrate(training()[0], 50)
    with pytest.raises(ValueError, match=r"^`images` must have the shape \(at least 1, 16, 16, 1\)"):
        trained_ddnn().calibrate(training()[0][0], (1, 2, 1))
    rounded = quantization_aware(trained_ddnn(), training()[0][:8])
    for refused in (lambda: rounded.subnet((1, 2, 1)), lambda: rounded.calibrate(training()[0], (1, 2, 1))):
        with pytest.raises(ValueError, match=r"^`depth` must be a trained one of a quantization-aware network\. Rec"):
            refused()
