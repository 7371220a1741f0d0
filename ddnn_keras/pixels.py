"""Checks images and labels, and divides images into batches."""

import warnings

import numpy as np

PIXEL_RANGE = (0, 255)
AT_ONCE = 32  # Keras keeps all activations of a forward pass, at 224x224 about a hundred megabytes for each image


def checked_images(name, images, shape):
    """Images as a float32 array of shape `(n, *shape)`, n ≥ 1, with pixels from 0 to 255.

    Raises a `ValueError` that calls them `name` if they are anything else.
    """
    if not isinstance(given := images, np.ndarray) and (images := np.asarray(images)).dtype == object:
        raise ValueError(f"`{name}` must be an array of images. Received: {type(given).__name__}")
    if images.shape != (len(images) if images.ndim else 0, *shape) or not len(images):
        expected = ", ".join(map(str, shape))
        raise ValueError(f"`{name}` must have the shape (at least 1, {expected}). Received: {images.shape}")
    images = images.astype("float32", copy=False)
    low, high = images.min(), images.max()
    if not (low >= PIXEL_RANGE[0] and high <= PIXEL_RANGE[1]):  # so written, NaN fails too
        raise ValueError(f"`{name}` must be raw pixels from 0 to 255. Received: values from {low} to {high}")
    return images


def checked_raw_images(name, images, shape):
    """`checked_images` that also refuses images scaled to 0..1, which would pass for nearly black ones."""
    images = checked_images(name, images, shape)
    if not images.max() > 1:
        raise ValueError(
            f"`{name}` must be raw pixels from 0 to 255, not scaled to 0..1. "
            f"Received: values from {images.min()} to {images.max()}"
        )
    return images


def warn_of_scaled(name, images):
    """Warns of images that were scaled or normalised, as `keras.applications`' `preprocess_input` does.

    Then no pixel is above 3, and some are fractions; or some are far below 0. A black image has no fractions.
    """
    images = np.asarray(images)
    if (images.max(initial=0) <= 3 and np.any(images % 1)) or images.min(initial=0) < -50:
        warnings.warn(
            f"`{name}` must be raw pixels from 0 to 255, and seems to be scaled or normalised already. "
            f"Received: values from {images.min()} to {images.max()}",
            stacklevel=3,
        )


def checked_labels(name, labels, num_images, num_classes):
    """Labels as an integer array. Raises a `ValueError` about `name` unless there is a class index for each image."""
    labels = np.asarray(labels)
    if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be {num_images} integers, one for each image. "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"{name} must be from 0 to {num_classes - 1}. Received: values from {labels.min()} to {labels.max()}"
        )
    return labels


def in_batches(images):
    """Divides an array of images into batches of about equal size that a network can take at once."""
    return np.array_split(images, -(-len(images) // AT_ONCE))
