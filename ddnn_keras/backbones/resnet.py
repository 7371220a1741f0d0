"""ResNet with basic blocks (https://arxiv.org/abs/1512.03385), as torchvision computes it.

Symmetric padding, stride in the first 3x3 convolution, a projection (1x1 convolution) where the shape changes, no
biases in front of normalisation.
"""

import keras

from ddnn_keras.backbones.layers import check_stem, check_width, convolution, normalization

# The layers of the name: two per block, the stem's convolution and the classifier. 18 and 34 are the paper's; its 50,
# 101 and 152 are made of bottlenecks, which cannot share weights with basic blocks. The 50 of this family is the
# basic-block one that IResNet-50 made common (https://arxiv.org/abs/2004.04989); 100 is its larger sister.
DEPTHS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 14, 3),
    100: (3, 13, 30, 3),
}


class ResNet:
    """The basic-block ResNet family.

    Args:
        width: Channels of the first stage; each later stage has twice as many as the one before.
        stem: `"cifar"` for a single 3x3 convolution that keeps the resolution of small images, `"strided"` for one
            that halves it, `"imagenet"` for a 7x7 convolution with stride 2 and a max-pooling.

    Raises:
        ValueError: If an argument is not as above.
    """

    DEPTHS = DEPTHS
    WIDTH = 64
    STEMS = ("cifar", "strided", "imagenet")
    num_stages = 4

    def __init__(self, width, stem):
        self.width = check_width(width)
        self._stem = STEM_LAYERS[check_stem(stem, self.STEMS)]

    def stem(self, path, x):
        """The layers before the first stage."""
        return self._stem(path, x, self.width)

    def block(self, path, x, stage, index):
        """Two 3x3 convolutions and a shortcut."""
        name = f"stage{stage + 1}_block{index + 1}"
        filters = self.width * 2**stage
        strides = 2 if stage > 0 and index == 0 else 1
        shortcut = x
        if strides > 1 or x.shape[-1] != filters:
            shortcut = convolution(path, x, filters, 1, strides, f"{name}_projection_conv")
            shortcut = normalization(path, shortcut, f"{name}_projection_bn")
        x = convolution(path, x, filters, 3, strides, f"{name}_conv1")
        x = keras.layers.ReLU(dtype=path.dtype)(normalization(path, x, f"{name}_bn1"))
        x = convolution(path, x, filters, 3, 1, f"{name}_conv2")
        x = keras.layers.Add(dtype=path.dtype)([normalization(path, x, f"{name}_bn2"), shortcut])
        return keras.layers.ReLU(dtype=path.dtype)(x)

    def head(self, path, x):
        """Global average pooling."""
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)


def cifar_stem(path, x, width, strides=1):
    """A 3x3 convolution that keeps the resolution."""
    x = normalization(path, convolution(path, x, width, 3, strides, "stem_conv"), "stem_bn")
    return keras.layers.ReLU(dtype=path.dtype)(x)


def strided_stem(path, x, width):
    """A 3x3 convolution with stride 2: half of the resolution, a quarter of the cost."""
    return cifar_stem(path, x, width, strides=2)


def imagenet_stem(path, x, width):
    """A 7x7 convolution and a max-pooling: a quarter of the resolution."""
    x = normalization(path, convolution(path, x, width, 7, 2, "stem_conv"), "stem_bn")
    x = keras.layers.ReLU(dtype=path.dtype)(x)
    # After a ReLU, padding with zeros is padding with nothing.
    x = keras.layers.ZeroPadding2D(1, dtype=path.dtype)(x)
    return keras.layers.MaxPooling2D(3, strides=2, dtype=path.dtype)(x)


STEM_LAYERS = {"cifar": cifar_stem, "strided": strided_stem, "imagenet": imagenet_stem}
