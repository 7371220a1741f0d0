"""A folder with a folder of images for each class."""

import os
import pathlib
import re
import warnings
import zlib
from multiprocessing.pool import ThreadPool

import numpy as np
import tensorflow as tf
from PIL import Image

from ddnn_keras.data.sources.in_memory import InMemory, fits_in_memory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.splits import hold_out_by_class
from ddnn_keras.runtime.image_file import open_image

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"}
CHANNELS = 3
PARTS = ("train", "validation", "test")
# Words in other names of them that are common, such as training_set and val: they would be classes, or not be seen.
PART_WORDS = {*PARTS, "training", "testing", "val", "valid", "dev", "pred"}

# A photo is decoded faster, at a half, a quarter or an eighth of its size, as long as both sides have so many pixels.
ENOUGH_PIXELS = 1024

# Of phones and cameras: formats that Pillow does not know by itself.
PHOTO_SUFFIXES = {".heic", ".heif", ".dng"}

# The same images are tested whatever the training's seed is.
TEST_FRACTION = 0.2
TEST_SEED = 0


def read(location, options):
    """JPEG, PNG, BMP, GIF and WebP files, all of one size or each of its own, under a folder for each class.

    The classes are the folders' names, sorted, as in `keras.utils.image_dataset_from_directory`. Where `location` has
    the folder `train` and `test` or `validation` or both, the classes lie in those. Without `test`, 20 % of each
    class are for testing, always the same ones. `ddnn_keras.runtime.image_file.open_image` reads the files, in
    training as on the device. Hidden files and folders are passed over, links to folders within a class too; images in
    other formats with a warning. Every file is read before training, so that a damaged one is found. Images of one size
    that fit into memory stay there.
    """
    root = pathlib.Path(location).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. If it has moved, give its new place.")
    found = [part for part in PARTS if (root / part).is_dir()]
    check_parts(root, folders_in(root), found)
    if found and (len(found) == 1 or "train" not in found):
        raise ValueError(
            f"{root} must have the folder train with test or validation, or none of them. Found: {', '.join(found)} "
            "(a class must have another name)"
        )
    class_root = root / "train" if found else root
    class_names = folders_in(class_root)
    if len(class_names) < 2:
        raise ValueError(
            f"{class_root} must have a folder for each of at least 2 classes. Found: {', '.join(class_names) or 'none'}"
        )
    # Class names are written into files and pictures. An archive of another system may have other letters.
    if unreadable := [name for name in class_names if name.encode(errors="replace").decode() != name]:
        raise ValueError(f"{class_root} must have folders with names in UTF-8. Found: {unreadable[0]!r}")
    listed = {part: list_images(root / part if found else root, class_names) for part in found or ["train"]}
    all_paths = np.concatenate([paths for paths, _ in listed.values()])
    sizes = image_sizes(all_paths)
    if empty := [name for label, name in enumerate(class_names) if label not in listed["train"][1]]:
        raise ValueError(
            f"There are no images in the folder of class {empty[0]} in {class_root}: "
            f"{', '.join(sorted(SUFFIXES))} count."
        )
    if not found and (counts := np.bincount(listed["train"][1])).min() < 3:
        name = class_names[counts.argmin()]
        warnings.warn(f"{name} has {counts.min()} images. It needs 3 to be validated and tested.", stacklevel=2)
    if "test" not in listed:
        listed |= parted(*listed["train"], "test", TEST_FRACTION, TEST_SEED)
    if "validation" not in listed:
        listed |= parted(*listed["train"], "validation", options.validation_fraction, options.seed)
    shape = (*(sizes[0][0] if len(set(sizes)) == 1 else (None, None)), CHANNELS)
    in_memory = fits_in_memory(len(sizes), shape)
    return Source(
        **{part: InMemory(decoded(paths) if in_memory else paths, labels) for part, (paths, labels) in listed.items()},
        class_names=class_names,
        shape=shape,
        decode=None if in_memory else decode,
        stratified="validation" not in found,
        checksum=checksum(root, all_paths),
    )


def folders_in(folder):
    """The names of the folders in a folder, sorted, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def check_parts(root, folders, found):
    """Raises a `ValueError` if folders that must be parts have other names."""
    # Beside parts, other images may lie in a folder such as test_unlabelled.
    words = {name: {name.lower()} if found else set(re.split("[ _-]", name.lower())) for name in folders}
    looks = [name for name in folders if words[name] & PART_WORDS]
    misnamed = [name for name in looks if name not in PARTS]
    if misnamed and (found or looks == folders):
        raise ValueError(f"{root} must name its parts {', '.join(PARTS)}. Found: {', '.join(misnamed)}")


def list_images(folder, class_names):
    """Paths and labels of the images in a folder of class folders, class by class."""
    if unknown := set(folders_in(folder)) - set(class_names):
        raise ValueError(f"{folder} has classes that the training images lack: {', '.join(sorted(unknown))}")
    files = [
        (path, label)
        for label, name in enumerate(class_names)
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    # As bytes, because an archive of another system may have names that are no UTF-8.
    listed = [(os.fsencode(path), label) for path, label in files if path.suffix.lower() in SUFFIXES]
    warn_of_other_formats(folder, [path for path, _ in files])
    if not listed:
        raise ValueError(f"There are no images in the class folders of {folder}: {', '.join(sorted(SUFFIXES))} count.")
    paths, labels = zip(*listed)
    return np.array(paths), np.array(labels)


def warn_of_other_formats(folder, paths):
    """Warns of images that are passed over."""
    formats = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    if others := [path for path in paths if path.suffix.lower() in (formats | PHOTO_SUFFIXES) - SUFFIXES]:
        warnings.warn(
            f"{len(others)} images in {folder} are passed over, such as {others[0]}: "
            f"{', '.join(sorted(SUFFIXES))} count. Convert the others first.",
            stacklevel=2,
        )


def parted(paths, labels, part, fraction, seed):
    """What is left for training, and the part that is held out."""
    kept, held_out = hold_out_by_class(labels, fraction, seed)
    return {"train": (paths[kept], labels[kept]), part: (paths[held_out], labels[held_out])}


def decode(path):
    """The pixels of an image file, as a tensor."""
    # Said to be stateless: where operations are deterministic, others would run one after another.
    return tf.numpy_function(pixels, [path], tf.uint8, stateful=False)


def pixels(path):
    """The pixels of the image file with a path in bytes, as an array."""
    return np.asarray(open_image(os.fsdecode(path), CHANNELS, ENOUGH_PIXELS))


def decoded(paths):
    """The pixels of image files of one size, as an array."""
    with ThreadPool() as pool:
        return np.stack(pool.map(pixels, paths))


def checksum(root, paths):
    """A number of the files' names under `root`, in their order."""
    return zlib.crc32(b"\n".join(os.path.relpath(path, os.fsencode(root)) for path in paths))


def image_sizes(paths):
    """All images' `(height, width)` and how far they are reduced; a `ValueError` if one cannot be read."""

    def size(path):
        try:
            shape = pixels(path).shape[:2]
            with Image.open(path) as image:
                return shape, max(image.size) / max(shape)
        except ValueError as error:
            return error

    with ThreadPool() as pool:
        sizes = pool.map(size, paths)
    if errors := [found for found in sizes if isinstance(found, ValueError)]:
        raise ValueError(f"{'; '.join(map(str, errors[:10]))} ({len(errors)} such files in all).")
    return sizes
