"""The ResNets are the published ones, block by block."""

import subprocess
import sys

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


ODD_BATCH = """
import keras, numpy as np
from ddnn_keras import DDNN

model = DDNN(depths=(10,), width=4)
model.compile("sgd", jit_compile=False)
model.fit(np.zeros((45, 32, 32, 3)), np.zeros(45, "int32"), batch_size=15, verbose=0)
print("survived")
"""


@pytest.mark.slow
def test_odd_batches_of_narrow_networks_do_not_kill_the_process():
    """The gradient of a strided 1x1 convolution did, with TensorFlow 2.21 on CPUs."""
    finished = subprocess.run([sys.executable, "-c", ODD_BATCH], capture_output=True, text=True)
    assert finished.stdout == "survived\n", finished.stderr
