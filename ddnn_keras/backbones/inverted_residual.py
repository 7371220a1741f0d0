"""Networks of inverted residuals: a block widens, filters each channel, and narrows again."""

import math
import numbers

import keras

from ddnn_keras.backbones.layers import check_stem, convolution, normalization

# For small images, the first convolution and the second stage keep the resolution.
STEMS = {"cifar": (1, 1), "strided": (2, 1), "imagenet": (2, 2)}


class InvertedResidualNet:
    """What MobileNetV2 and EfficientNet-Lite have in common. A family says in which numbers it differs.

    Args:
        width: A positive number, 32 times the width multiplier. Channels are in multiples of 8.
        stem: `"imagenet"` for the published network, `"strided"` for twice its resolution, `"cifar"` for four times.
    """

    WIDTH = 32
    STEMS = tuple(STEMS)
    num_stages = 7

    def __init__(self, width, stem):
        if not isinstance(width, numbers.Real) or isinstance(width, bool) or not 0 < width < math.inf:
            raise ValueError(f"`width` must be a positive number. Received: width={width!r}")
        self.width = width
        self._stem_strides, self._second_stage_strides = STEMS[check_stem(stem, self.STEMS)]

    def stem(self, path, x):
        """A 3x3 convolution."""
        x = convolution(path, x, self.stem_channels, 3, self._stem_strides, "stem_conv", one_sided=self.ONE_SIDED)
        return self._activated(path, x, "stem_bn")

    def block(self, path, x, stage, index):
        """An expansion, a depthwise convolution, a projection, and a shortcut where the shape is kept."""
        name = f"stage{stage + 1}_block{index + 1}"
        expansion, channels, strides, kernel_size = self.STAGES[stage]
        strides = self._second_stage_strides if stage == 1 else strides
        strides = strides if index == 0 else 1
        shortcut = x
        if expansion > 1:
            x = convolution(path, x, expansion * x.shape[-1], 1, 1, f"{name}_expand_conv")
            x = self._activated(path, x, f"{name}_expand_bn")
        x = convolution(path, x, None, kernel_size, strides, f"{name}_depthwise_conv", one_sided=self.ONE_SIDED)
        x = self._activated(path, x, f"{name}_depthwise_bn")
        x = convolution(path, x, self._channels(channels), 1, 1, f"{name}_project_conv")
        x = normalization(path, x, f"{name}_project_bn", epsilon=self.EPSILON)
        return keras.layers.Add(dtype=path.dtype)([x, shortcut]) if x.shape == shortcut.shape else x

    def head(self, path, x):
        """A 1x1 convolution and global average pooling."""
        x = convolution(path, x, self.last_channels, 1, 1, "last_conv")
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(self._activated(path, x, "last_bn"))

    def _channels(self, channels):
        """The multiple of 8 near the channels in proportion to the width that has at least 90 % of them."""
        exact = channels * self.width / self.WIDTH
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * exact else rounded + 8

    def _activated(self, path, x, name):
        x = normalization(path, x, name, epsilon=self.EPSILON)
        return keras.layers.ReLU(max_value=6.0, dtype=path.dtype)(x)


class MobileNetV2(InvertedResidualNet):
    """MobileNetV2 (https://arxiv.org/abs/1801.04381), as torchvision computes it.

    Padding is symmetric. `keras.applications` pads even resolutions on one side. The first and the last convolution
    have channels in proportion to the width too.
    """

    # A name counts layers: three convolutions in a block (two in the first), the first and last convolution, the
    # classifier. 53 is the paper's network.
    DEPTHS = {23: (1, 1, 1, 1, 1, 1, 1), 38: (1, 2, 2, 2, 2, 2, 1), 53: (1, 2, 3, 4, 3, 3, 1)}
    # Table 2 of the paper: expansion, channels, stride and kernel size of each stage.
    STAGES = [
        (1, 16, 1, 3),
        (6, 24, 2, 3),
        (6, 32, 2, 3),
        (6, 64, 2, 3),
        (6, 96, 1, 3),
        (6, 160, 2, 3),
        (6, 320, 1, 3),
    ]
    ONE_SIDED = False
    EPSILON = 1e-5

    def __init__(self, width, stem):
        super().__init__(width, stem)
        # Of the last convolution, no fewer than the paper's.
        self.stem_channels, self.last_channels = self._channels(32), max(1280, self._channels(1280))


class EfficientNetLite(InvertedResidualNet):
    """EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

    EfficientNet without what integer files do badly: ReLU6 in place of Swish, no squeeze-and-excite. The first and the
    last convolution are as wide in every variant. Padding and epsilon are TensorFlow's, as published weights need. The
    statistics' momentum is that of the other families, 0.9: the original's 0.99 is too slow for the few steps of a
    fine-tuning.
    """

    # A name counts blocks. Lite0 has 16; Lite1 and, at width 32 * 1.1, Lite2 have 21; Lite3 has 24 at 32 * 1.2; Lite4
    # has 30 at 32 * 1.4.
    DEPTHS = {
        7: (1, 1, 1, 1, 1, 1, 1),
        12: (1, 2, 2, 2, 2, 2, 1),
        16: (1, 2, 2, 3, 3, 4, 1),
        21: (1, 3, 3, 4, 4, 5, 1),
        24: (1, 3, 3, 5, 5, 6, 1),
        30: (1, 4, 4, 6, 6, 8, 1),
    }
    # Expansion, channels, stride and kernel size of each stage.
    STAGES = [
        (1, 16, 1, 3),
        (6, 24, 2, 3),
        (6, 40, 2, 5),
        (6, 80, 2, 3),
        (6, 112, 1, 5),
        (6, 192, 2, 5),
        (6, 320, 1, 3),
    ]
    ONE_SIDED = True
    EPSILON = 1e-3
    stem_channels = 32
    last_channels = 1280
