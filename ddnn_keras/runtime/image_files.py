"""Reads image files as a network takes them: upright, its size, the centre that evaluation shows. Needs Pillow."""

import struct

import numpy as np
from PIL import Image, ImageOps

# Pillow's mode for a number of channels.
MODES = {1: "L", 3: "RGB"}

# Pillow's errors for damaged files, and for images too large for the memory.
UNREADABLE = (OSError, SyntaxError, struct.error, Image.DecompressionBombError)


def read_image(path, shape, crop_pct=1.0):
    """Raw pixels of an image file.

    Args:
        path: The path of the file.
        shape: The `(height, width, channels)` that the network takes.
        crop_pct: The fraction of the image's shorter side that the network sees, as in `ddnn_keras.data`. An image of
            the network's size is shown whole. Defaults to `1.0`.

    Returns:
        A float32 array of shape `shape`, with pixels 0..255.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an image file that Pillow can read, or the network takes neither 1 nor 3 channels.
    """
    height, width, channels = shape
    if channels not in MODES:
        raise ValueError(f"The network must take 1 or 3 channels to read image files for it. Received: {channels}")
    try:
        with Image.open(path) as image:
            whole = eight_bit(upright(image), path).convert(MODES[channels])
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{path} is not an image file that Pillow can read: {error}") from None
    border = 0.0 if whole.size == (width, height) else (1 - crop_pct) / 2
    image = ImageOps.fit(whole, (width, height), Image.Resampling.BILINEAR, bleed=border)
    return np.asarray(image, "float32").reshape(shape)


def upright(image):
    """An image turned as its EXIF says. Unreadable EXIF is ignored, as in training."""
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, struct.error):
        return image


def eight_bit(image, path):
    """An image with 8 bits a channel: the upper 8 of 16, as TensorFlow decodes it for training."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"{path} must have 8 bits a channel, or 16 in a PNG or TIFF file. Received: Pillow's mode {image.mode}"
        )
    return image
