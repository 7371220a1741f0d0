import keras
import numpy as np
import pytest

from ddnn_keras import DDNN
from ddnn_keras.quantization_aware import quantization_aware
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import operators
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.model_copies import float32_logits
from ddnn_keras.tflite.modes import MODES

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 18, 18, 1)).astype("float32")


@pytest.mark.parametrize(
    ("backbone", "depth", "quantize", "error"),
    [
        ("resnet_bottleneck", 26, "none", 1e-5),
        ("resnet_cifar", 8, "float16", 0.01),
        ("resnet_cifar", 8, "int8", 0.1),
        ("resnet_cifar", 8, "int16x8", 0.05),
    ],
)
def test_a_stride_in_place_of_subsampling(backbone, depth, quantize, error):
    model = DDNN((depth,), backbone, width=4, input_shape=(18, 18, 1))
    subnet = (quantization_aware(model, IMAGES) if quantize == "int8" else model).subnet(depth)
    assert any(isinstance(layer, keras.layers.MaxPooling2D) and layer.pool_size == (1, 1) for layer in subnet.layers)
    content = convert(subnet, MODES[quantize], IMAGES)
    assert "MAX_POOL_2D" not in operators(content)
    expected = float32_logits(subnet, IMAGES)
    np.testing.assert_allclose(LiteModel(content)(IMAGES), expected, atol=error * np.abs(expected).max())


def test_what_is_read_by_other_layers_stays():
    image = keras.Input((18, 18, 1))
    x = keras.layers.MaxPooling2D(1, strides=2)(image)
    readers = [keras.layers.Conv2D(2, kernel, strides=stride)(x) for kernel, stride in ((1, 1), (3, 1), (1, 2))]
    parts = [keras.layers.GlobalAveragePooling2D()(part) for part in [*readers, keras.layers.ReLU()(x)]]
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Concatenate()(parts)))
    content = convert(model)
    assert "MAX_POOL_2D" in operators(content)
    np.testing.assert_allclose(LiteModel(content)(IMAGES), model(IMAGES), rtol=1e-4, atol=1e-3)


def test_a_sequential_model():
    sequential = keras.Sequential([keras.Input((18, 18, 1)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(2)])
    np.testing.assert_allclose(LiteModel(convert(sequential))(IMAGES), sequential(IMAGES), rtol=1e-5, atol=1e-3)
