"""VGG with batch normalisation (https://arxiv.org/abs/1409.1556), as torchvision's vgg11_bn to vgg19_bn compute it.

Its convolutions have biases like torchvision's, although normalisation removes them again.
"""

import keras

from ddnn_keras.backbones.layers import check_stem, check_width, convolution, normalization


class VGG:
    """The VGG family.

    Args:
        width: Channels of the first stage. The next three have twice as many as the one before.
        stem: The end of the network: `"imagenet"` for the paper's dense layers, `"cifar"` for global average pooling.
    """

    # A name counts layers: the convolutions, and the paper's three dense layers.
    DEPTHS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
    WIDTH = 64
    STEMS = ("cifar", "imagenet")
    num_stages = 5

    def __init__(self, width, stem):
        self.width = check_width(width)
        self._dense = check_stem(stem, self.STEMS) == "imagenet"

    def stem(self, path, x):
        """No layers before the first stage."""
        if min(x.shape[1:3]) < 32:
            raise ValueError(
                "`input_shape` must be at least 32x32 for VGG, which halves the resolution five times. "
                f"Received: input_shape={x.shape[1:]}"
            )
        return x

    def block(self, path, x, stage, index):
        """A 3x3 convolution. The first block of a stage halves the resolution before it."""
        name = f"stage{stage + 1}_block{index + 1}"
        if stage > 0 and index == 0:
            x = keras.layers.MaxPooling2D(2, dtype=path.dtype)(x)
        filters = self.width * min(2**stage, 8)
        x = convolution(path, x, filters, 3, 1, f"{name}_conv", use_bias=True)
        return keras.layers.ReLU(dtype=path.dtype)(normalization(path, x, f"{name}_bn"))

    def head(self, path, x):
        """Two dense layers with dropout, or global average pooling."""
        x = keras.layers.MaxPooling2D(2, dtype=path.dtype)(x)
        if not self._dense:
            return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)
        x = keras.layers.Flatten(dtype=path.dtype)(x)
        for number in (1, 2):
            name = f"dense{number}"
            initializer = keras.initializers.HeNormal(path.seed(name))
            dense = {"units": 64 * self.width, "activation": "relu", "kernel_initializer": initializer}
            x = path.shared(keras.layers.Dense, name, **dense)(x)
            x = keras.layers.Dropout(0.5, seed=path.seed(f"{path.name} {name}"), dtype=path.dtype)(x)
        return x
