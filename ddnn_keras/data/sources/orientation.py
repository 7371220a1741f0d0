"""Photos the right way up: cameras write how they were held into a file, which TensorFlow does not read."""

import struct

import tensorflow as tf
from PIL import ExifTags, Image

UPRIGHT = 1
# What Pillow raises for files that it cannot read: whether they are damaged, TensorFlow says.
UNREADABLE = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)


def orientations(paths):
    """How each image file is to be turned: a dict from paths to EXIF's numbers from 1 to 8, without those upright."""
    found = {path: orientation(path) for path in paths}
    return {path: number for path, number in found.items() if number != UPRIGHT}


def orientation(path):
    """EXIF's number of how an image file is to be turned, 1 if it says nothing."""
    try:
        with Image.open(path) as image:
            number = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except UNREADABLE:
        return UPRIGHT
    return number if number in range(1, 9) else UPRIGHT


def upright(image, number):
    """An image of shape `(height, width, channels)`, turned and mirrored as EXIF's number says.

    Example:
    >>> image = tf.constant([[[1], [2]]])
    >>> upright(image, 6)[..., 0].numpy()
    array([[1],
           [2]], dtype=int32)
    """
    image = tf.cond(number >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(tf.reduce_any(number == (2, 3, 6, 7)), lambda: image[:, ::-1], lambda: image)
    return tf.cond(tf.reduce_any(number == (3, 4, 7, 8)), lambda: image[::-1], lambda: image)
