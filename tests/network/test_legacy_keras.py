"""Sub-nets in tf_keras: the same function of the same weights, and back."""

import keras
import numpy as np
import pytest
import tf_keras
from small_networks import held_out, trained_ddnn

from ddnn_keras import DDNN
from ddnn_keras.network.legacy_keras import as_subnet, take_weights, to_tf_keras
from ddnn_keras.tflite.export import export_subnets


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
    images, _ = held_out(100)
    subnet = trained_ddnn().subnet(14)
    model = to_tf_keras(subnet)
    assert isinstance(model, tf_keras.Model)
    expected = subnet.predict(images, verbose=0)
    np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-5 * np.abs(expected).max())
    other = DDNN((14,), "resnet_cifar", input_shape=(16, 16, 1), width=16).subnet(14)
    take_weights(other, model)
    np.testing.assert_allclose(other.predict(images, verbose=0), expected, atol=1e-5 * np.abs(expected).max())


def test_a_model_of_tf_keras_is_exported_as_a_sub_net(tmp_path):
    images, labels = held_out(100)
    subnet = as_subnet(to_tf_keras(trained_ddnn().subnet(8)))
    arguments = {"images": images, "labels": labels, "facts": {}}
    (verification,) = export_subnets(subnet, tmp_path / "net.tflite", **arguments).values()
    assert verification.argmax_agreement == 1
    reference = trained_ddnn().subnet(8).predict(images, verbose=0)
    assert verification.keras_accuracy == np.mean(reference.argmax(-1) == labels)


def test_a_layer_that_tf_keras_does_not_have():
    image = keras.Input((4, 4, 1))
    model = keras.Model(image, keras.layers.RMSNormalization(name="new")(image))
    with pytest.raises(ValueError, match=r"^`subnet` must be made of layers that tf_keras has\. Received: new, a RMSN"):
        to_tf_keras(model)
