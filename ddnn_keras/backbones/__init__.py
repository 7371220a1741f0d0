"""The families of nested depths, by name, and what a backbone of one's own must have.

A backbone is an object with

- `DEPTHS`: a dict from integers to tuples of blocks per stage, and `num_stages`, how many stages there are;
- `stem(path, x)`: the layers before the first stage;
- `block(path, x, stage, index)`: one block of a stage, both counted from 0, which keeps four axes;
- `head(path, x)`: from the last block's output to the feature vector that the classifier sees.

Each takes and returns a symbolic tensor. `path` makes the layers that have weights: `path.shared(layer_class, name,
**arguments)` those that all depths have in common, `path.private(...)` those of normalisation. Layers without weights
get `dtype=path.dtype`; `path.blocks` says of how many blocks the stages before are made. With `path.seed(name)` for the
seed of an initializer, a depth trained alone starts from the weights that it has in a larger network, but for those
whose shapes depend on the depth, as in a DenseNet. To save a network, its backbone needs `get_config`, `from_config`
and `keras.saving.register_keras_serializable`.

A family by name is a class that makes backbones from `width` and `stem`; `WIDTH` is the published networks' width, and
`STEMS` the names that it knows. See `ddnn_keras.backbones.resnet`, and CONTRIBUTING.md for an example.
"""

import importlib
from collections.abc import Mapping

from ddnn_keras.depths import is_positive_integer

# A class, or the module here and the name of one, so that `--help` lists the families without Keras.
BACKBONES = {
    "resnet": "resnet.ResNet",
    "resnet_bottleneck": "resnet.ResNetBottleneck",
    "resnet_cifar": "resnet.ResNetCIFAR",
    "vgg": "vgg.VGG",
    "mobilenet_v2": "mobilenet_v2.MobileNetV2",
    "densenet": "densenet.DenseNet",
}
STEMS = ("cifar", "strided", "imagenet")  # of any of them

PROTOCOL = ("DEPTHS", "num_stages", "stem", "block", "head")


def make_backbone(backbone, width=None, stem=None):
    """A backbone from what `DDNN` is given.

    Args:
        backbone: A name in `BACKBONES`, or a backbone.
        width: The width of a family by name. Defaults to the published networks'.
        stem: The stem of a family by name. Defaults to `"cifar"`.

    Returns:
        A backbone.

    Raises:
        ValueError: If an argument is not as above.
    """
    if isinstance(backbone, str) and backbone in BACKBONES:
        family = family_named(backbone)
        return family(family.WIDTH if width is None else width, "cifar" if stem is None else stem)
    if isinstance(backbone, type):
        raise ValueError(f"`backbone` must be an object, not a class. Received: backbone={backbone!r}")
    if isinstance(backbone, str) or (missing := [name for name in PROTOCOL if not hasattr(backbone, name)]):
        lacks = "" if isinstance(backbone, str) else f", which lacks {', '.join(missing)}"
        raise ValueError(
            f"`backbone` must be one of {', '.join(map(repr, BACKBONES))}, or an object with {', '.join(PROTOCOL)}. "
            f"Received: backbone={backbone!r}{lacks}"
        )
    for name, value in {"width": width, "stem": stem}.items():
        if value is not None:
            raise ValueError(f"`{name}` is for families by name, not for a backbone of one's own. Received: {value!r}")
    check_table(backbone)
    return backbone


def family_named(name):
    """The class that `BACKBONES` has under a name."""
    family = BACKBONES[name]
    if isinstance(family, str):
        module, _, class_name = family.partition(".")
        family = getattr(importlib.import_module(f"{__name__}.{module}"), class_name)
    return family


def check_table(backbone):
    """Raises a `ValueError` unless `DEPTHS` has blocks for each of `num_stages` stages."""
    table = list(backbone.DEPTHS.values()) if isinstance(backbone.DEPTHS, Mapping) else []
    if not table or not all(
        isinstance(blocks, tuple) and len(blocks) == backbone.num_stages and all(map(is_positive_integer, blocks))
        for blocks in table
    ):
        raise ValueError(
            f"`backbone` must have a tuple of {backbone.num_stages} positive integers, its `num_stages`, for each of "
            f"its DEPTHS. Received: backbone={backbone!r} with DEPTHS={backbone.DEPTHS}"
        )
