"""The families of nested depths by name. README.md in this folder explains them, and how to add a family."""

import importlib

# A class, or a module of this folder and a class in it, so that `--help` can list the families without Keras.
BACKBONES = {
    "resnet": "resnet.ResNet",
    "resnet_bottleneck": "resnet.ResNetBottleneck",
    "resnet_cifar": "resnet.ResNetCIFAR",
    "vgg": "vgg.VGG",
    "mobilenet_v2": "inverted_residual.MobileNetV2",
    "efficientnet_lite": "inverted_residual.EfficientNetLite",
    "densenet": "densenet.DenseNet",
}
# Of EfficientNet-Lite's published weights: how many blocks the network has, and how wide it is.
PUBLISHED = {"efficientnet_lite0": (16, 32), "efficientnet_lite1": (21, 32), "efficientnet_lite2": (21, 32 * 1.1)}

STEMS = ("cifar", "strided", "imagenet")  # of any of them

PROTOCOL = ("DEPTHS", "num_stages", "stem", "block", "head")


def make_backbone(backbone, width=None, stem=None):
    """Makes a family by name, or checks a backbone of one's own, which has a width and a stem already."""
    if isinstance(backbone, str) and backbone in BACKBONES:
        family = family_named(backbone)
        return family(family.WIDTH if width is None else width, "cifar" if stem is None else stem)
    if isinstance(backbone, type):
        raise ValueError(f"`backbone` must be an object, not a class. Received: backbone={backbone!r}")
    if missing := [name for name in PROTOCOL if not hasattr(backbone, name)]:
        raise ValueError(
            f"`backbone` must be one of {', '.join(map(repr, BACKBONES))}, or an object with {', '.join(PROTOCOL)}. "
            f"Received: backbone={backbone!r}, which lacks {missing[0]}"
        )
    for name, value in {"width": width, "stem": stem}.items():
        if value is not None:
            raise ValueError(f"`{name}` is for families by name, not for a backbone of one's own. Received: {value!r}")
    return backbone


def family_named(name):
    """The class that `BACKBONES` has under a name."""
    family = BACKBONES[name]
    if isinstance(family, str):
        module, _, class_name = family.partition(".")
        family = getattr(importlib.import_module(f"{__name__}.{module}"), class_name)
    return family
