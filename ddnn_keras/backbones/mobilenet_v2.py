"""MobileNetV2 (https://arxiv.org/abs/1801.04381), as torchvision computes it.

Padding is symmetric. `keras.applications` pads even resolutions on one side.
"""

from ddnn_keras.backbones.inverted_residual import InvertedResidualNet

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


class MobileNetV2(InvertedResidualNet):
    """The MobileNetV2 family. The first and the last convolution have channels in proportion to the width too."""

    DEPTHS = DEPTHS
    STAGES = STAGES
    ONE_SIDED = False
    EPSILON = 1e-5

    def __init__(self, width, stem):
        super().__init__(width, stem)
        # Of the last convolution, no fewer than the paper's.
        self.stem_channels, self.last_channels = self._channels(32), max(1280, self._channels(1280))
