import keras
import numpy as np
import pytest
import tf_keras
from small_networks import held_out, trained_ddnn

from ddnn_keras import DDNN
from ddnn_keras.network.legacy_keras import take_weights, to_tf_keras


@pytest.mark.parametrize(
    ("backbone", "depth", "stem"),
    [
        ("resnet", 18, "imagenet"),
        ("resnet_bottleneck", 26, "cifar"),
        ("vgg", 11, "imagenet"),
        ("mobilenet_v2", 23, "strided"),
        ("efficientnet_lite", 7, "strided"),
    ],
)
def test_every_family_computes_the_same(backbone, depth, stem):
    settings = {"backbone": backbone, "width": 8, "input_shape": (32, 32, 3), "stem": stem}
    subnet = DDNN((depth,), pixel_mean=(120, 110, 100), pixel_std=(60, 55, 50), **settings).subnet(depth)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    expected = subnet.predict(images, verbose=0)
    found = to_tf_keras(subnet).predict(images, verbose=0)
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_trained_weights_come_along_and_go_back():
    images, labels = held_out(100)
    model = to_tf_keras(trained_ddnn().subnet(14))
    model.compile(tf_keras.optimizers.Adam(1e-2), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(images, labels, batch_size=10, verbose=0)
    expected = model.predict(images, verbose=0)
    other = DDNN((14,), "resnet_cifar", input_shape=(16, 16, 1), width=16).subnet(14)
    take_weights(other, model)
    np.testing.assert_allclose(other.predict(images, verbose=0), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("operation", "received"),
    [
        (keras.layers.RMSNormalization(name="new"), "that tf_keras has. Received: new, a RMSNormalization"),
        (lambda image: image + 3.0, "that tf_keras has. Received: add"),
        (keras.layers.LeakyReLU(0.1), "that compute the same in tf_keras. Received: mine"),
    ],
)
def test_layers_that_tf_keras_does_not_have(operation, received):
    image = keras.Input((4, 4, 1))
    pixels = keras.layers.Rescaling(1 / 127.5, -1)(image)
    with pytest.raises(ValueError, match=f"^`subnet` must be made of layers {received}"):
        to_tf_keras(keras.Model(image, operation(pixels), name="mine"))
