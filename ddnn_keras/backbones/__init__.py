"""The families of nested depths, by name.

A backbone is an object with

- `DEPTHS`: a dict from integers to tuples of blocks per stage, and `num_stages`;
- `WIDTH`: the published networks' width, and `width`, its own;
- `stem(path, x)`: the layers before the first stage;
- `block(path, x, stage, index)`: one block of a stage, both counted from 0;
- `head(path, x)`: from the last block's output to the feature vector that the classifier sees.

`path` makes the layers that have weights: `path.shared(...)` for those that all depths have in common, and
`path.private(...)` for normalisation. See `ddnn_keras.backbones.resnet` for a complete one.
"""

from ddnn_keras.backbones.mobilenet_v2 import MobileNetV2
from ddnn_keras.backbones.resnet import ResNet
from ddnn_keras.backbones.resnet_bottleneck import ResNetBottleneck
from ddnn_keras.backbones.resnet_cifar import ResNetCIFAR
from ddnn_keras.backbones.vgg import VGG

BACKBONES = {
    "resnet": ResNet,
    "resnet_bottleneck": ResNetBottleneck,
    "resnet_cifar": ResNetCIFAR,
    "vgg": VGG,
    "mobilenet_v2": MobileNetV2,
}
