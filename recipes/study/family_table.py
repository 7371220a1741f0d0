"""Prints the table of families: what their depths cost, and what one network of all of them saves.

    python recipes/study/family_table.py

Networks are the published ones: 1000 classes at 224x224 with the ImageNet stem; the CIFAR family 10 classes at 32x32.
Nothing is timed; `benchmark_training.py` does that.
"""

import collections
import math

from markdown_table import markdown_table

from ddnn_keras.command_line import ArgumentParser, run

IMAGENET = {"num_classes": 1000, "input_shape": (224, 224, 3), "stem": "imagenet"}
CIFAR = {}  # what `DDNN` has by default
NETWORKS = [
    ("resnet", (18, 34, 50), IMAGENET),
    ("resnet_bottleneck", (50, 101, 152), IMAGENET),
    ("resnet_cifar", (8, 14, 20), CIFAR),
    ("resnet_cifar", (20, 32, 44, 56), CIFAR),
    ("vgg", (11, 13, 16, 19), IMAGENET),
    ("mobilenet_v2", (23, 38, 53), IMAGENET),
    ("efficientnet_lite", (7, 12, 16), IMAGENET),
    ("densenet", (121, 169, 201), IMAGENET),
]
COLUMNS = [
    "family",
    "depths",
    "parameters, M",
    "MACs, M",
    "all depths' parameters / full-net's",
    "used by several depths",
    "joint step / each alone",
]


def main(_):
    """Prints a Markdown table."""
    from ddnn_keras import DDNN

    rows = [cells(DDNN(depths, family, **setting), family) for family, depths, setting in NETWORKS]
    print(markdown_table(COLUMNS, rows))


def cells(model, family):
    """What the table says of a network."""
    from ddnn_keras.network.cost import count_macs, count_parameters

    subnets = [model.subnet(depth) for depth in model.depths]
    parameters, macs = [count_parameters(net) for net in subnets], [count_macs(net) for net in subnets]
    return [
        f"`{family}`",
        " · ".join(map(str, model.depths)),
        " · ".join(f"{number / 1e6:.3g}" for number in parameters),
        " · ".join(f"{number / 1e6:,.0f}" for number in macs),
        f"{count_parameters(model) / parameters[-1]:.3f}",
        f"{share_of_several(subnets, count_parameters(model)):.1%}",
        f"{count_macs(model) / sum(macs):.2f}",
    ]


def share_of_several(subnets, number):
    """The part of the joint network's `number` of parameters that more than one sub-net has."""
    variables = [variable for net in subnets for variable in net.trainable_variables]
    owners = collections.Counter(variable.path for variable in variables)
    sizes = {variable.path: math.prod(variable.shape) for variable in variables if owners[variable.path] > 1}
    return sum(sizes.values()) / number


if __name__ == "__main__":
    run(main, ArgumentParser(__doc__))
