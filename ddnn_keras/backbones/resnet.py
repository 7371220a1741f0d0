"""The ResNets (https://arxiv.org/abs/1512.03385): basic blocks, bottlenecks, and the narrow ones made for CIFAR.

As torchvision computes them: symmetric padding, the stride in the first 3x3 convolution, a projection (1x1 convolution)
where the shape changes, no biases in front of normalisation.
"""

import keras

from ddnn_keras.backbones.layers import check_stem, check_width, convolution, normalization

# Kernel size and strides.
STEM_CONVOLUTIONS = {"cifar": (3, 1), "strided": (3, 2), "imagenet": (7, 2)}


class ResNet:
    """The basic-block ResNet family.

    Args:
        width: Channels of the first stage. Each later stage has twice as many as the one before.
        stem: `"cifar"` for a 3x3 convolution that keeps the resolution, `"strided"` for one that halves it,
            `"imagenet"` for a 7x7 convolution with stride 2 and a max-pooling.
    """

    # A name counts layers: those of the blocks, the stem's convolution and the classifier. 18 and 34 are the paper's.
    # 50 and 100 are the basic-block networks that IResNet made common (https://arxiv.org/abs/2004.04989).
    DEPTHS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
    WIDTH = 64
    STEMS = tuple(STEM_CONVOLUTIONS)
    num_stages = 4

    def __init__(self, width, stem):
        self.width = check_width(width)
        self._stem = check_stem(stem, self.STEMS)

    def stem(self, path, x):
        """The layers before the first stage."""
        return resnet_stem(path, x, self.width, self._stem)

    def convolutions(self, filters, strides):
        """The convolutions of a block, a list of filters, kernel size and strides: two 3x3 ones."""
        return [(filters, 3, strides), (filters, 3, 1)]

    def block(self, path, x, stage, index):
        """Convolutions and a shortcut, which has a projection where the shape changes."""
        name = f"stage{stage + 1}_block{index + 1}"
        strides = 2 if stage > 0 and index == 0 else 1
        convolutions = self.convolutions(self.width * 2**stage, strides)
        shortcut = x
        channels, _, _ = convolutions[-1]
        if strides > 1 or x.shape[-1] != channels:
            shortcut = convolution(path, x, channels, 1, strides, f"{name}_projection_conv")
            shortcut = normalization(path, shortcut, f"{name}_projection_bn")
        for number, settings in enumerate(convolutions, start=1):
            if number > 1:
                x = keras.layers.ReLU(dtype=path.dtype)(x)
            x = normalization(path, convolution(path, x, *settings, f"{name}_conv{number}"), f"{name}_bn{number}")
        x = keras.layers.Add(dtype=path.dtype)([x, shortcut])
        return keras.layers.ReLU(dtype=path.dtype)(x)

    def head(self, path, x):
        """Global average pooling."""
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)


def resnet_stem(path, x, width, stem):
    """A convolution. For ImageNet a max-pooling follows it."""
    x = normalization(path, convolution(path, x, width, *STEM_CONVOLUTIONS[stem], "stem_conv"), "stem_bn")
    x = keras.layers.ReLU(dtype=path.dtype)(x)
    if stem != "imagenet":
        return x
    # After a ReLU, padding with zeros is padding with nothing.
    x = keras.layers.ZeroPadding2D(1, dtype=path.dtype)(x)
    return keras.layers.MaxPooling2D(3, strides=2, dtype=path.dtype)(x)


class ResNetBottleneck(ResNet):
    """The bottleneck ResNet family in version 1.5, with the stride in the 3x3 convolution.

    The paper and `keras.applications` have it in the first 1x1 convolution, which is less accurate on ImageNet.
    """

    # 50, 101 and 152 are the paper's; 26 is the smaller one that later papers compare with.
    DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

    def convolutions(self, filters, strides):
        """1x1, 3x3 and 1x1 convolutions."""
        return [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]


class ResNetCIFAR(ResNet):
    """The ResNets that the paper made for CIFAR (section 4.2): basic blocks, three narrow stages.

    Shortcuts are projections (1x1 convolutions), the paper's option B, not its parameter-free option A.
    """

    # 6n + 2 layers: n blocks of two convolutions in each of three stages.
    DEPTHS = {6 * n + 2: (n, n, n) for n in (1, 2, 3, 5, 7, 9, 18)}
    WIDTH = 16
    num_stages = 3
