"""How much of an image is shown in evaluation."""

# Of the shorter side, for images of any size: about 224 of 256 pixels, as is usual for ImageNet.
CROP_PCT = 224 / 256


def size_before_crop(size):
    """To how many pixels the shorter side of an image of any size is resized before `size` of them are shown.

    The same number is cut off on both sides: half a pixel more on one would be seen at small sizes.

    Example:
    >>> size_before_crop(224), size_before_crop(32)
    (256, 36)
    """
    return size + 2 * round(size * (1 / CROP_PCT - 1) / 2)


def centre_box(own_size, size):
    """The rows and columns of the largest part in an image's middle that has the aspect ratio of `size`.

    Example:
    >>> centre_box((48, 64), (8, 8))
    (slice(0, 48, None), slice(8, 56, None))
    """
    scale = min(own / wanted for own, wanted in zip(own_size, size))
    extents = [max(1, round(scale * wanted)) for wanted in size]
    starts = [(own - extent) // 2 for own, extent in zip(own_size, extents)]
    return tuple(slice(start, start + extent) for start, extent in zip(starts, extents))
