"""The ResNets are the published ones, block by block."""

import subprocess
import sys

import numpy as np
import pytest

from ddnn_keras import DDNN
from ddnn_keras.network.cost import count_parameters


# With projections: 2,752 parameters more than the paper's networks, whose shortcuts are padded (option A).
def test_cifar_networks_have_the_published_numbers_of_parameters():
    model = DDNN(depths=(20, 32, 44, 56), backbone="resnet_cifar")
    counted = {depth: count_parameters(model.subnet(depth)) for depth in model.depths}
    assert counted == {20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770}


@pytest.mark.parametrize(
    ("backbone", "size", "stem", "resolutions"),
    [
        ("resnet", 64, "cifar", [64, 32, 16, 8]),
        ("resnet", 64, "imagenet", [16, 8, 4, 2]),
        ("resnet_cifar", 32, "cifar", [32, 16, 8]),
        ("resnet_cifar", 28, "strided", [14, 7, 4]),
    ],
)
def test_resolutions_and_channels_of_the_stages(backbone, size, stem, resolutions):
    model = DDNN({"a": (1,) * len(resolutions)}, backbone, width=4, input_shape=(size, size, 3), stem=stem)
    shapes = [model.get_layer(f"stage{stage}_block1_conv2").output.shape[1:] for stage, _ in enumerate(resolutions, 1)]
    assert shapes == [(pixels, pixels, 4 * 2**stage) for stage, pixels in enumerate(resolutions)]


def numpy_convolution(x, kernel, strides):
    """A convolution with symmetric zero padding, written out."""
    padding = kernel.shape[0] // 2
    x = np.pad(x, ((padding, padding), (padding, padding), (0, 0)))
    size = (x.shape[0] - kernel.shape[0]) // strides + 1
    out = np.zeros((size, size, kernel.shape[3]))
    for row in range(size):
        for column in range(size):
            top, left = row * strides, column * strides
            patch = x[top : top + kernel.shape[0], left : left + kernel.shape[1]]
            out[row, column] = np.tensordot(patch, kernel, 3)
    return out


def test_the_network_computes_what_the_paper_says(random_resnet):
    """ResNet-10, image to logits, against loops in NumPy."""
    model, weights = random_resnet
    image = np.random.default_rng(1).integers(0, 256, (12, 12, 2))

    def conv_bn(x, conv, bn, strides=1):
        x = numpy_convolution(x, weights[f"{conv}/kernel"], strides)
        bn = f"{bn}_depth_10"
        scale = weights[f"{bn}/gamma"] / np.sqrt(weights[f"{bn}/moving_variance"] + 1e-5)
        return (x - weights[f"{bn}/moving_mean"]) * scale + weights[f"{bn}/beta"]

    x = np.maximum(conv_bn(image / 127.5 - 1, "stem_conv", "stem_bn"), 0)
    for stage in (1, 2, 3, 4):
        block, strides = f"stage{stage}_block1", 1 if stage == 1 else 2
        y = np.maximum(conv_bn(x, f"{block}_conv1", f"{block}_bn1", strides), 0)
        y = conv_bn(y, f"{block}_conv2", f"{block}_bn2")
        if stage > 1:
            x = conv_bn(x, f"{block}_projection_conv", f"{block}_projection_bn", strides)
        x = np.maximum(x + y, 0)
    expected = x.mean((0, 1)) @ weights["depth_10/kernel"] + weights["depth_10/bias"]

    np.testing.assert_allclose(model(image[None])["depth_10"][0], expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def random_resnet():
    model = DDNN(depths=(10,), width=3, input_shape=(12, 12, 2), num_classes=4)
    random = np.random.default_rng(0)
    model.set_weights([np.abs(random.normal(size=weight.shape)) * 0.3 + 0.1 for weight in model.get_weights()])
    return model, {variable.path: np.array(variable, "float64") for variable in model.variables}


ODD_BATCH = """
import keras, numpy as np
from ddnn_keras import DDNN

model = DDNN(depths=(10,), width=4)
model.compile("sgd", jit_compile=False)
model.fit(np.zeros((45, 32, 32, 3)), np.zeros(45, "int32"), batch_size=15, verbose=0)
print("survived")
"""


def test_odd_batches_of_narrow_networks_do_not_kill_the_process():
    """The gradient of a strided 1x1 convolution did, with TensorFlow 2.21 on CPUs."""
    finished = subprocess.run([sys.executable, "-c", ODD_BATCH], capture_output=True, text=True)
    assert finished.stdout == "survived\n", finished.stderr
