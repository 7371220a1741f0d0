"""A data set in one file of NumPy arrays."""

import pathlib
import zipfile
import zlib

import numpy as np

from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.splits import hold_out_by_class
from ddnn_keras.pixels import checked_labels

# What looks like more of them is a width.
MOST_CHANNELS = 4

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def read(location, options):
    """The arrays that a `.npz` file holds.

    `x_train` and `x_test` have the shape `(n, height, width)` or `(n, height, width, channels)` and hold uint8 or
    floats from 0 to 255. `y_train` and `y_test` hold n labels from 0. The optional `class_names` holds a string for
    each class; without it `y_train` must have every label. The optional `mirror` says whether a mirrored image keeps
    its label.
    """
    arrays = load_arrays(pathlib.Path(location).expanduser())
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise ValueError(f"{location} must hold the arrays {', '.join(ARRAYS)}. Missing: {', '.join(missing)}")
    images = {name: checked_images(location, name, arrays[name]) for name in ("x_train", "x_test")}
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise ValueError(
            f"x_train and x_test in {location} must hold images of one shape. "
            f"Received: {images['x_train'].shape[1:]} and {images['x_test'].shape[1:]}"
        )
    if "class_names" in arrays:
        names = arrays["class_names"]
        class_names = (np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names.astype(str)).tolist()
    else:
        class_names = names_of_numbers(location, arrays["y_train"])
    y_train, y_test = (
        checked_labels(f"y_{part} in {location}", arrays[f"y_{part}"], len(images[f"x_{part}"]), len(class_names))
        for part in ("train", "test")
    )
    kept, validation = hold_out_by_class(y_train, options.validation_fraction, options.seed)
    return Source(
        train=InMemory(images["x_train"][kept], y_train[kept]),
        validation=InMemory(images["x_train"][validation], y_train[validation]),
        test=InMemory(images["x_test"], y_test),
        class_names=class_names,
        shape=images["x_train"].shape[1:],
        mirror=bool(arrays.get("mirror", False)),
        stratified=True,
        checksum=zlib.crc32(np.concatenate([y_train, y_test]).astype("<i8").tobytes()),
    )


def load_arrays(path):
    """A dict of all arrays in the `.npz` file at `path`."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def checked_images(location, name, images):
    """Images with a channel axis, as uint8 or float32."""
    images = images[..., np.newaxis] if images.ndim == 3 else images
    if images.ndim != 4 or 0 in images.shape or images.dtype.kind not in "uif":
        raise ValueError(
            f"{name} in {location} must be numbers of shape (n, height, width) or (n, height, width, channels). "
            f"Received: {images.dtype} of shape {images.shape}"
        )
    if images.shape[1] <= MOST_CHANNELS < images.shape[3]:
        raise ValueError(
            f"{name} in {location} must have its channels last: (n, height, width, channels). Received: {images.shape}"
        )
    low, high = images.min(), images.max()
    # An image set without a value above 1 was rescaled; a model that rescales again would see black.
    if not (low >= 0 and 1 < high <= 255):
        raise ValueError(f"{name} in {location} must be pixels from 0 to 255. Received: values from {low} to {high}")
    return images if images.dtype == np.uint8 else images.astype(np.float32)


def names_of_numbers(location, labels):
    """Names for classes that have none: their numbers."""
    numbers = np.unique(labels)
    # The largest label may be huge where it marks what is to be ignored: count what is there.
    if numbers.dtype.kind in "iu" and np.any(numbers >= len(numbers)):
        raise ValueError(
            f"y_train in {location} must have every label from 0 to {len(numbers) - 1}, one less than there are "
            f"classes, or class_names must say how many there are. Received: {numbers[-1]}"
        )
    return numbers.astype(str).tolist()
