"""ResNet with bottleneck blocks (https://arxiv.org/abs/1512.03385), as torchvision and KerasHub compute it.

Version 1.5: the stride is in the 3x3 convolution, which is about half a point better on ImageNet than the paper's (and
`keras.applications`') in the first 1x1 convolution.
"""

import keras

from ddnn_keras.backbones.layers import convolution, normalization
from ddnn_keras.backbones.resnet import ResNet

# 50, 101 and 152 are the paper's; 26 is the smaller one that later papers compare with.
DEPTHS = {
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}

EXPANSION = 4


class ResNetBottleneck(ResNet):
    """The bottleneck ResNet family."""

    DEPTHS = DEPTHS

    def block(self, path, x, stage, index):
        """1x1, 3x3 and 1x1 convolutions and a shortcut."""
        name = f"stage{stage + 1}_block{index + 1}"
        filters = self.width * 2**stage
        strides = 2 if stage > 0 and index == 0 else 1
        shortcut = x
        if strides > 1 or x.shape[-1] != EXPANSION * filters:
            shortcut = convolution(path, x, EXPANSION * filters, 1, strides, f"{name}_projection_conv")
            shortcut = normalization(path, shortcut, f"{name}_projection_bn")
        x = convolution(path, x, filters, 1, 1, f"{name}_conv1")
        x = keras.layers.ReLU(dtype=path.dtype)(normalization(path, x, f"{name}_bn1"))
        x = convolution(path, x, filters, 3, strides, f"{name}_conv2")
        x = keras.layers.ReLU(dtype=path.dtype)(normalization(path, x, f"{name}_bn2"))
        x = convolution(path, x, EXPANSION * filters, 1, 1, f"{name}_conv3")
        x = keras.layers.Add(dtype=path.dtype)([normalization(path, x, f"{name}_bn3"), shortcut])
        return keras.layers.ReLU(dtype=path.dtype)(x)
