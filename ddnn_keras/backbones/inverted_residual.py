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
