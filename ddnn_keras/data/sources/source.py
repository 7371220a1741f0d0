"""What each kind of data set tells: all that `ImageData` needs to make pipelines of it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set as it is stored.

    A split has a `len`. Its `ordered()` gives a `tf.data.Dataset` of stored images and int32 labels in a fixed order;
    `shuffled(seed)` gives one in the order that `seed`, an integer tensor of shape `(2,)`, stands for.
    """

    train: Any
    validation: Any
    test: Any
    class_names: Sequence[str]  # in the order of the labels
    shape: tuple  # height, width, channels; the first two are None where images differ
    decode: Callable | None = None  # makes pixels of a stored image, where not pixels are stored
    mirror: bool = False  # whether a mirrored image keeps its label
    default_size: tuple | None = None  # height and width for the model, where they are not those of `shape`
    stratified: bool = False  # whether images were held out by class
    checksum: int = 0  # of the names of files in their order, or of an `.npz` file's labels
