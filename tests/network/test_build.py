"""The graph that a network is: what depths share, pixels, initial weights."""

import numpy as np

from ddnn_keras import DDNN

# Paths part in stages 1 and 2.
DEPTHS = {"c": (1, 1, 1), "b": (2, 1, 1), "a": (2, 2, 1)}


def small_network(depths=DEPTHS, input_shape=(16, 16, 1), **arguments):
    return DDNN(depths, backbone="resnet_cifar", width=4, num_classes=3, input_shape=input_shape, **arguments)


def test_convolutions_are_shared_and_normalisation_is_private_once_paths_have_parted():
    model = small_network()
    names = {depth: {layer.name for layer in model.subnet(depth).layers if layer.weights} for depth in DEPTHS}
    convolutions = {depth: {name for name in names[depth] if "conv" in name} for depth in DEPTHS}
    assert convolutions["c"] < convolutions["b"] < convolutions["a"]
    # Up to the first block of stage 1 everything is common; from stage 2 on, `c` has its own normalisation.
    assert "stage1_block1_bn1_depth_a" in names["c"] & names["b"] & names["a"]
    assert "stage2_block1_bn1_depth_c" in names["c"] - names["b"] - names["a"]
    # `b` and `a` part in stage 2.
    assert "stage2_block1_bn1_depth_a" in (names["b"] & names["a"]) - names["c"]
    assert "stage3_block1_bn1_depth_b" in names["b"] - names["a"]


def test_pixels_are_normalised_within():
    images = np.random.default_rng(3).uniform(0, 255, (8, 16, 16, 1))
    raw = small_network(pixel_mean=127.5, pixel_std=127.5)
    ready = small_network(pixel_mean=0.0, pixel_std=1.0)
    ready.set_weights(raw.get_weights())
    expected = ready.predict(images / 127.5 - 1, verbose=0)["depth_a"]
    np.testing.assert_allclose(raw.predict(images, verbose=0)["depth_a"], expected, atol=1e-5)
    colour = small_network(input_shape=(16, 16, 3), pixel_mean=[1.0, 2.0, 3.0], pixel_std=[4.0, 5.0, 6.0])
    layer = colour.get_layer("normalize_pixels")
    np.testing.assert_allclose(layer(np.full((1, 1, 1, 3), 9.0))[0, 0, 0], [2.0, 1.4, 1.0], rtol=1e-6)
