"""EfficientNet-Lite (https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).

EfficientNet without what integer files do badly: ReLU6 in place of Swish, no squeeze-and-excite.
"""

from ddnn_keras.backbones.inverted_residual import InvertedResidualNet

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


class EfficientNetLite(InvertedResidualNet):
    """The EfficientNet-Lite family. The first and the last convolution are as wide in every variant.

    Padding and epsilon are TensorFlow's, as published weights need. The statistics' momentum is that of the other
    families, 0.9: the original's 0.99 is too slow for the few steps of a fine-tuning.
    """

    DEPTHS = DEPTHS
    STAGES = STAGES
    ONE_SIDED = True
    EPSILON = 1e-3
    stem_channels = 32
    last_channels = 1280
