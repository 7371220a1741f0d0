"""How published networks want their pixels: which mean and deviation normalise them, and the order of colours."""

import dataclasses
import itertools
import re

import keras

from ddnn_keras.network.graph import has_kernel, without_nesting


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What is done to raw pixels 0..255 before a network sees them."""

    mean: float | tuple = 0.0  # subtracted from each channel
    std: float | tuple = 1.0  # divides each channel after that
    channels: str = "rgb"  # or "bgr", for networks that want blue first


# Under the names of `keras.applications.imagenet_utils.preprocess_input`, and for pixels that were divided by 255.
MODES = {
    "0..1": Preprocessing(0.0, 255.0),
    "tf": Preprocessing(127.5, 127.5),
    "torch": Preprocessing((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "caffe": Preprocessing((123.68, 116.779, 103.939), 1.0, "bgr"),
    None: Preprocessing(),
}

# What a source's name, or its class in KerasHub, says of it. A name of one's own that begins so says nothing.
KNOWN = {
    r"resnet(50|101|152)v2|resnetbackbonev2|xception|inception_(resnet_v2|v3)|nasnet(_\w+)?": "tf",
    r"mobilenet(v2)?_[\d.]+_(\d+|none)": "tf",
    r"resnet(50|101|152)|vgg(16|19)": "caffe",
    r"densenet(121|169|201)": "torch",
    r"resnetbackbone|mobilenetbackbone|efficientnetbackbone": "torch",
}


def preprocessing_of(source, preprocessing="auto"):
    """The `Preprocessing` of a `keras.Model`: a mean and a deviation, one of `MODES`, or what its name tells."""
    if isinstance(preprocessing, tuple | list) and len(preprocessing) == 2:
        return Preprocessing(*preprocessing)
    if preprocessing != "auto" and preprocessing in MODES:
        return MODES[preprocessing]
    allowed = "None, '0..1' (pixels divided by 255), 'tf', 'torch', 'caffe' or a mean and a deviation"
    if preprocessing != "auto":
        raise ValueError(f"`preprocessing` must be {allowed}. Received: preprocessing={preprocessing!r}")
    operations = [one for one in without_nesting(source).operations if type(one).__name__ != "ConvertToTensor"]
    before_kernels = list(itertools.takewhile(lambda operation: not has_kernel(operation), operations))
    if any(isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization) for layer in before_kernels):
        return MODES[None]
    # As `preprocess_input(image)` does within a network.
    if not all(isinstance(operation, keras.Layer) for operation in before_kernels):
        raise ValueError(f"`preprocessing` must be given for a source that computes with pixels itself: {allowed}.")
    version = "v2" if getattr(source, "use_pre_activation", False) else ""  # of KerasHub's ResNets
    for name in (source.name.lower(), type(source).__name__.lower() + version):
        for pattern, mode in KNOWN.items():
            if re.fullmatch(pattern, name):
                return MODES[mode]
    raise ValueError(f"`preprocessing` must be given for a source called {source.name!r}: {allowed}.")
