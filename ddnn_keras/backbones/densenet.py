"""DenseNet (https://arxiv.org/abs/1608.06993), the "BC" variant, as torchvision and `keras.applications` compute it.

Normalisation comes before each convolution. A layer reads the outputs of all earlier layers of its stage. So a depth
with fewer layers has fewer channels, and its kernels are parts of the deeper ones' (`nested_convolution.py`).
"""

import keras

from ddnn_keras.backbones.layers import check_stem, check_width, convolution, normalization
from ddnn_keras.backbones.nested_convolution import nested_convolution
from ddnn_keras.backbones.resnet import STEM_CONVOLUTIONS, resnet_stem

BOTTLENECK = 4  # channels of a layer's first convolution for each that its second adds


class DenseNet:
    """The DenseNet family; a block is what the paper calls a layer.

    Args:
        width: Channels of the stem, an even number. Each block adds half as many, the paper's growth rate.
        stem: `"cifar"`, `"strided"` or `"imagenet"`, as for `ddnn_keras.backbones.resnet.ResNet`.
    """

    # A name counts layers: two convolutions in a block, the stem's, three transitions' and the classifier. The paper's.
    DEPTHS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}
    WIDTH = 64
    STEMS = tuple(STEM_CONVOLUTIONS)
    num_stages = 4

    def __init__(self, width, stem):
        self.width = check_width(width)
        if self.width % 2:
            raise ValueError(f"`width` must be even for a DenseNet. Received: width={width!r}")
        self._growth = self.width // 2
        self._stem = check_stem(stem, self.STEMS)

    def stem(self, path, x):
        """The layers before the first stage."""
        y = resnet_stem(path, x, self.width, self._stem)
        height, width = y.shape[1:3]
        if min(height, width) < 2 ** (self.num_stages - 1):
            raise ValueError(
                "`input_shape` must leave 8x8 or more behind the stem of a DenseNet, which halves the resolution three "
                f"times, but {height}x{width} are left of {x.shape[1:]}."
            )
        return y

    def block(self, path, x, stage, index):
        """A 1x1 and a 3x3 convolution, concatenated with the input. A stage begins with a transition."""
        if stage > 0 and index == 0:
            x = self._transition(path, x, stage)
        name = f"stage{stage + 1}_block{index + 1}"
        y = normalized(path, x, f"{name}_bn1")
        y = nested_convolution(path, y, self._segments(x, index), BOTTLENECK * self._growth, f"{name}_conv1")
        y = normalized(path, y, f"{name}_bn2", behind_convolution=True)
        y = convolution(path, y, self._growth, 3, 1, f"{name}_conv2")
        return keras.layers.Concatenate(dtype=path.dtype)([x, y])

    def head(self, path, x):
        """Normalisation and global average pooling."""
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(normalized(path, x, "last_bn"))

    def _transition(self, path, x, stage):
        """Half of the channels and half of the resolution."""
        name = f"stage{stage + 1}_transition"
        blocks = path.blocks[stage - 1]
        y = normalized(path, x, f"{name}_bn")
        y = nested_convolution(path, y, self._segments(x, blocks), x.shape[-1] // 2, f"{name}_conv")
        return keras.layers.AveragePooling2D(2, dtype=path.dtype)(y)

    def _segments(self, x, blocks):
        """The channels that entered the stage, and those that its blocks have added so far."""
        added = blocks * self._growth
        return x.shape[-1] - added, added


def normalized(path, x, name, behind_convolution=False):
    """Normalisation and ReLU, which come before a convolution."""
    return keras.layers.ReLU(dtype=path.dtype)(normalization(path, x, name, behind_convolution))
