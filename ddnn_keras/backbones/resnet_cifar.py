"""The ResNets that the paper made for CIFAR (https://arxiv.org/abs/1512.03385, section 4.2): three narrow stages.

Shortcuts are projections (1x1 convolutions), the paper's option B, not its parameter-free option A.
"""

from ddnn_keras.backbones.resnet import ResNet

# 6n + 2 layers: n blocks of two convolutions in each stage, the stem's convolution and the classifier.
DEPTHS = {6 * n + 2: (n, n, n) for n in (1, 2, 3, 5, 7, 9, 18)}


class ResNetCIFAR(ResNet):
    """The CIFAR ResNet family: basic blocks, three stages."""

    DEPTHS = DEPTHS
    WIDTH = 16
    num_stages = 3
