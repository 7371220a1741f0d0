import keras
import numpy as np
import pytest

from ddnn_keras import DDNN
from ddnn_keras.quantization_aware import quantization_aware
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.model_copies import is_subsampling, with_strides

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 18, 18, 1)).astype("float32")


@pytest.mark.parametrize(
    ("backbone", "depth", "rounded"), [("resnet_cifar", 8, True), ("resnet_bottleneck", 26, False)]
)
def test_the_same_function_without_subsampling(backbone, depth, rounded):
    model = DDNN((depth,), backbone, width=4, input_shape=(18, 18, 1))
    subnet = (quantization_aware(model, IMAGES) if rounded else model).subnet(depth)
    assert any(map(is_subsampling, subnet.layers))
    strided = with_strides(subnet)
    assert not any(map(is_subsampling, strided.layers))
    np.testing.assert_allclose(strided(IMAGES), subnet(IMAGES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shortcut_first", [False, True])
def test_weights_stay_with_their_layers_whatever_the_order(shortcut_first):
    """Without the subsampling, the convolution in front of it has as many layers before it as others."""
    image = keras.Input((8, 8, 2))

    def shortcut():
        x = keras.layers.MaxPooling2D(1, strides=2)(keras.layers.Conv2D(2, 1)(image))
        return keras.layers.Conv2D(2, 1)(x)

    def branch():
        x = keras.layers.Conv2D(2, 1)(keras.layers.Conv2D(2, 1)(image))
        return keras.layers.AveragePooling2D(2)(x)

    parts = [part() for part in ((shortcut, branch) if shortcut_first else (branch, shortcut))]
    model = keras.Model(image, keras.layers.Add()(parts))
    images = IMAGES[:, :8, :16].reshape(4, 8, 8, 2)
    strided = with_strides(model)
    assert len(strided.layers) == len(model.layers) - 1
    np.testing.assert_allclose(strided(images), model(images), rtol=1e-4, atol=1e-4)


def test_what_is_read_by_other_layers_stays():
    image = keras.Input((8, 8, 1))
    x = keras.layers.MaxPooling2D(1, strides=2)(image)
    for reader in (keras.layers.Conv2D(2, 3)(x), keras.layers.Conv2D(2, 1, strides=2)(x), keras.layers.ReLU()(x), x):
        model = keras.Model(image, reader)
        np.testing.assert_array_equal(with_strides(model)(IMAGES[:, :8, :8]), model(IMAGES[:, :8, :8]))
        assert any(map(is_subsampling, with_strides(model).layers))


def test_a_sequential_model():
    sequential = keras.Sequential([keras.Input((18, 18, 1)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    np.testing.assert_array_equal(with_strides(sequential)(IMAGES), sequential(IMAGES))
    assert convert(sequential)[4:8] == b"TFL3"
