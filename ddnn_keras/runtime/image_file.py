"""Image files as pixels: one reader for training and for LiteRT, so that both see the same."""

import contextlib
import struct

import numpy as np
from PIL import Image, ImageOps

# Pillow's, by the number of channels.
MODES = {1: "L", 3: "RGB"}

# What Pillow raises for damaged files, for unknown formats, and for images that would take all memory.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def open_image(path, channels=3, enough_pixels=None):
    """An image file as a `PIL.Image.Image` of 8 bits a channel, grey or RGB.

    The content says which format it is, not the name. An animation gives its first frame. A photo is turned upright as
    its EXIF says. What is transparent becomes black. Of 16 bits a channel the upper 8 count. A JPEG file may be reduced
    as long as both sides have `enough_pixels`.
    """
    try:
        with Image.open(path) as image:
            if enough_pixels:
                image.draft(None, (enough_pixels, enough_pixels))
            image.load()
            # An EXIF that cannot be read, or not be written anew: by then the pixels are turned.
            with contextlib.suppress(Exception):
                ImageOps.exif_transpose(image, in_place=True)
            return on_black(eight_bits(image), MODES[channels])
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{path} is not an image file that can be read: {error}") from None


def read_image(path, shape, crop_pct=1.0):
    """Raw pixels of an image file in the network's `shape`, see `raw_pixels`."""
    if shape[-1] not in MODES:
        raise ValueError(f"The network must take 1 or 3 channels to read image files for it. Received: {shape[-1]}")
    return raw_pixels(open_image(path, shape[-1]), shape, crop_pct)


def raw_pixels(image, shape, crop_pct=1.0):
    """Raw pixels of a `PIL.Image.Image` in the network's `shape`, with the centre that evaluation shows.

    The network sees the fraction `crop_pct` of the image's shorter side. An image of its own size is shown whole.
    """
    height, width, channels = shape
    border = 0.0 if image.size == (width, height) else (1 - crop_pct) / 2
    image = ImageOps.fit(image.convert(MODES[channels]), (width, height), Image.Resampling.BILINEAR, bleed=border)
    return np.asarray(image, "float32").reshape(shape)


def eight_bits(image):
    """An image of 16 bits with the upper 8 of them; another one as it is."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"it must have 8 bits a channel, or 16 in a PNG or TIFF file. Received: Pillow's mode {image.mode}"
        )
    return image


def on_black(image, mode):
    """An image in another mode, with black where it is transparent."""
    if "A" in image.getbands() or "transparency" in image.info:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return image if image.mode == mode else image.convert(mode)
