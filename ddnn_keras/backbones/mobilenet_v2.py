"""MobileNetV2 (https://arxiv.org/abs/1801.04381), as torchvision computes it.

Padding is symmetric. `keras.applications` pads even resolutions on one side.
"""

import keras

from ddnn_keras.backbones.layers import check_stem, check_width, convolution, depthwise_convolution, normalization

# A name counts layers: three convolutions in a block (two in the first), the first and last convolution, the
# classifier. 53 is the paper's network.
DEPTHS = {
    23: (1, 1, 1, 1, 1, 1, 1),
    38: (1, 2, 2, 2, 2, 2, 1),
    53: (1, 2, 3, 4, 3, 3, 1),
}

# Table 2 of the paper: expansion, channels and stride of each stage.
STAGES = [(1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1)]
LAST_CHANNELS = 1280

# For small images, the first convolution and the second stage keep the resolution.
STEMS = {"cifar": (1, 1), "strided": (2, 1), "imagenet": (2, 2)}


class MobileNetV2:
    """The MobileNetV2 family: inverted residuals.

    Args:
        width: Channels of the first convolution, 32 times the paper's width multiplier. All others are in proportion,
            in multiples of 8.
        stem: `"imagenet"` for the paper's network, `"strided"` for twice its resolution, `"cifar"` for four times.
    """

    DEPTHS = DEPTHS
    WIDTH = 32
    STEMS = tuple(STEMS)
    num_stages = len(STAGES)

    def __init__(self, width, stem):
        self.width = check_width(width)
        self._stem_strides, self._second_stage_strides = STEMS[check_stem(stem, self.STEMS)]

    def stem(self, path, x):
        """A 3x3 convolution."""
        x = convolution(path, x, self._channels(self.WIDTH), 3, self._stem_strides, "stem_conv")
        return self._relu6(path, normalization(path, x, "stem_bn"))

    def block(self, path, x, stage, index):
        """An expansion, a depthwise 3x3 convolution, a projection, and a shortcut where the shape is kept."""
        name = f"stage{stage + 1}_block{index + 1}"
        expansion, channels, strides = STAGES[stage]
        strides = self._second_stage_strides if stage == 1 else strides
        strides = strides if index == 0 else 1
        channels = self._channels(channels)
        shortcut = x
        if expansion > 1:
            x = convolution(path, x, expansion * x.shape[-1], 1, 1, f"{name}_expand_conv")
            x = self._relu6(path, normalization(path, x, f"{name}_expand_bn"))
        x = depthwise_convolution(path, x, 3, strides, f"{name}_depthwise_conv")
        x = self._relu6(path, normalization(path, x, f"{name}_depthwise_bn"))
        x = normalization(path, convolution(path, x, channels, 1, 1, f"{name}_project_conv"), f"{name}_project_bn")
        return keras.layers.Add(dtype=path.dtype)([x, shortcut]) if x.shape == shortcut.shape else x

    def head(self, path, x):
        """A 1x1 convolution, no narrower than the paper's, and global average pooling."""
        x = convolution(path, x, max(LAST_CHANNELS, self._channels(LAST_CHANNELS)), 1, 1, "last_conv")
        x = self._relu6(path, normalization(path, x, "last_bn"))
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)

    def _channels(self, channels):
        """The multiple of 8 near the channels in proportion to the width that has at least 90 % of them."""
        exact = channels * self.width / self.WIDTH
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded if rounded >= 0.9 * exact else rounded + 8

    def _relu6(self, path, x):
        return keras.layers.ReLU(max_value=6.0, dtype=path.dtype)(x)
