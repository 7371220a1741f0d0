"""A folder with a folder of images for each class."""

import functools
import pathlib
import warnings

import numpy as np
import tensorflow as tf
from PIL import Image

from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.orientation import UPRIGHT, orientations, upright
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.splits import hold_out
from ddnn_keras.data.tensorflow_pipeline import PARALLEL

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png"}
CHANNELS = 3
PARTS = ("train", "validation", "test")
# Other names of them that are common, and of which nothing would be seen.
NEAR_PARTS = ("val", "valid", "dev", "testing", "training")

# The same images are tested whatever the training's seed is.
TEST_FRACTION = 0.2
TEST_SEED = 0


def read(location, options):
    """JPEG, PNG, BMP and GIF files, all of one size or each of its own, under a folder for each class.

    The classes are the folders' names, sorted, as in `keras.utils.image_dataset_from_directory`. Where `location` has
    the folders `train` and `test`, the classes lie in those, and `validation` may stand beside them; otherwise 20 % of
    the images are for testing, always the same ones. Photos are turned upright as their EXIF says. Hidden files and
    folders are passed over, links to folders within a class too; images in other formats with a warning. Every file is
    read once, so that a damaged one is found before a long training and not in it.

    Args:
        location: Path of the folder.
        options: An `Options`.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds fewer than two classes, one without images, or a file that cannot be read.
    """
    root = pathlib.Path(location).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}.")
    found = [part for part in PARTS if (root / part).is_dir()]
    if found and not {"train", "test"} <= set(found):
        raise ValueError(f"{root} must have both of the folders train and test, or neither. Found: {', '.join(found)}")
    check_parts(root, folders_in(root), found)
    class_root = root / "train" if found else root
    class_names = folders_in(class_root)
    if len(class_names) < 2:
        raise ValueError(f"{class_root} must have a folder for each of at least 2 classes. Found: {len(class_names)}")
    listed = {part: list_images(root / part, class_names) for part in found} or {
        "train": list_images(root, class_names)
    }
    paths = np.concatenate([paths for paths, _ in listed.values()])
    decode = decoder(orientations(paths))
    sizes = image_sizes(paths, decode)
    check_every_class(class_names, listed["train"][1], class_root)
    if "test" not in listed:
        listed |= parted(*listed["train"], "test", TEST_FRACTION, TEST_SEED)
    if "validation" not in listed:
        listed |= parted(*listed["train"], "validation", options.validation_fraction, options.seed)
    of_one_size = (sizes == sizes[0]).all()
    return Source(
        **{part: InMemory(*listed[part]) for part in PARTS},
        class_names=class_names,
        shape=(*(sizes[0].tolist() if of_one_size else (None, None)), CHANNELS),
        decode=decode,
    )


def folders_in(folder):
    """The names of the folders in a folder, sorted, without hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def check_parts(root, folders, found):
    """Raises a `ValueError` if folders that must be parts have other names, which would be classes or nothing."""
    looks = [name for name in folders if name.lower() in (*PARTS, *NEAR_PARTS)]
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
        if path.is_file() and not is_hidden(path.relative_to(folder))
    ]
    listed = [(str(path), label) for path, label in files if path.suffix.lower() in SUFFIXES]
    warn_of_other_formats(folder, [path for path, _ in files])
    # As which TensorFlow takes paths.
    if others := [path for path, _ in listed if path != path.encode(errors="ignore").decode()]:
        raise ValueError(f"{folder} must have file names in UTF-8. Received: {others[0]!r}")
    if not listed:
        raise ValueError(f"There are no images in the class folders of {folder}: {', '.join(sorted(SUFFIXES))} count.")
    paths, labels = zip(*listed)
    return np.array(paths), np.array(labels)


def warn_of_other_formats(folder, paths):
    """Tells of images that are passed over, since TensorFlow does not read them."""
    formats = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN} - SUFFIXES
    if others := [path for path in paths if path.suffix.lower() in formats]:
        warnings.warn(
            f"{len(others)} images in {folder} are passed over, such as {others[0]}: "
            f"{', '.join(sorted(SUFFIXES))} count.",
            stacklevel=2,
        )


def is_hidden(path):
    """Whether a path is, or lies in, what file systems and programs hide, such as thumbnails."""
    return any(part.startswith(".") for part in path.parts)


def check_every_class(class_names, labels, folder):
    """Raises a `ValueError` if there is no image of a class."""
    if empty := [name for label, name in enumerate(class_names) if label not in labels]:
        raise ValueError(
            f"There are no images in the folder of class {empty[0]} in {folder}: {', '.join(sorted(SUFFIXES))} count."
        )


def parted(paths, labels, part, fraction, seed):
    """What is left for training, and the part that is held out."""
    kept, held_out = hold_out(len(paths), fraction, seed)
    return {"train": (paths[kept], labels[kept]), part: (paths[held_out], labels[held_out])}


def has_palette(path):
    """Whether an image file is a BMP with a palette, whose indices TensorFlow takes for grey values."""
    with Image.open(path) as image:
        return image.format == "BMP" and image.mode == "P"


def decode_file(path):
    """The pixels of an image file, of a GIF's first frame."""
    return tf.io.decode_image(tf.io.read_file(path), channels=CHANNELS, expand_animations=False)


def decoder(turned):
    """What decodes an image file, turned upright: `turned` is a dict from paths to EXIF's numbers."""
    if not turned:
        return decode_file
    table = tf.lookup.KeyValueTensorInitializer(list(turned), list(turned.values()), tf.string, tf.int32)
    return functools.partial(decode_upright, tf.lookup.StaticHashTable(table, UPRIGHT))


def decode_upright(numbers, path):
    """The pixels of an image file, turned as the table `numbers` says of its path."""
    return upright(decode_file(path), numbers.lookup(path))


def image_sizes(paths, decode):
    """Height and width of every image that `decode` gives, as an array of shape `(n, 2)`.

    Raises:
        ValueError: If a file is no image or damaged.
    """
    sizes = tf.data.Dataset.from_tensor_slices(paths).map(lambda path: (path, tf.shape(decode(path))[:2]), **PARALLEL)
    readable = {path.decode(): size for path, size in sizes.ignore_errors().as_numpy_iterator()}
    if unreadable := [path for path in paths if path not in readable]:
        raise ValueError(f"{unreadable[0]} is not a readable image ({len(unreadable)} such files in all).")
    if palettes := [path for path in paths if path.lower().endswith(".bmp") and has_palette(path)]:
        raise ValueError(
            f"{palettes[0]} is a BMP file with a palette: it must be a PNG ({len(palettes)} such files in all)."
        )
    return np.stack(list(readable.values()))
