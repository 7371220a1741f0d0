"""What each kind of data set tells: all that `ImageData` needs to make pipelines of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Options:
    """The arguments of `load` that a source may need."""

    data_dir: str | None
    manual_dir: str | None
    validation_fraction: float
    seed: int


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it is stored.

    Args:
        train: The training split. A split has a `len`; `ordered()` gives a `tf.data.Dataset` of stored images and
            int32 labels in a fixed order, and `shuffled(seed)` one in an order that is a function of `seed`, an
            integer tensor of shape `(2,)`.
        validation: The validation split.
        test: The test split.
        class_names: Names of the classes, in the order of the labels.
        shape: `(height, width, channels)` of every image; height and width are None where images differ.
        decode: Makes a tensor of pixels from 0 to 255 of a stored image. By default, pixels are what is stored.
        mirror: Whether a mirrored image keeps its label. Defaults to `False`.
        default_size: `(height, width)` for the model. Defaults to that of `shape`.
        stratified: Whether images were held out by class. Defaults to `False`.
    """

    train: Any
    validation: Any
    test: Any
    class_names: Sequence[str]
    shape: tuple
    decode: Callable | None = None
    mirror: bool = False
    default_size: tuple | None = None
    stratified: bool = False
