"""A data set by its name."""

import dataclasses
import importlib
import types

import keras

from ddnn_keras.data.array_pipeline import BackendPipelines
from ddnn_keras.data.image_data import ImageData, check_count
from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.depths import is_positive_integer

# The module of each kind; every other name is one of TensorFlow Datasets'.
SOURCES = {"digits": "digits", "folder:": "folder", "npz:": "npz"}

# The packages of each extra that only some kinds need: a module is imported when it is wanted.
EXTRAS = {
    "recipes": ("importlib_resources", "sklearn", "tensorflow_datasets"),
    "tensorflow": ("PIL", "ai_edge_litert", "tensorflow"),
}


def load(
    name,
    *,
    image_size=None,
    data_dir=None,
    manual_dir=None,
    validation_fraction=0.1,
    train_images=None,
    mirror=None,
    seed=0,
) -> ImageData:
    """A data set of labelled images, ready for training.

    | name | what |
    |---|---|
    | `"digits"` | scikit-learn's 1,797 real handwritten digits, 8x8, enlarged to 16x16; needs no download |
    | `"cifar10"`, `"imagenet2012"`, `"emnist/letters"`, ... | an image classification set of TensorFlow Datasets |
    | `"folder:PATH"` | a folder of images for each class, or `train/` and `test/` or `validation/` with these in them |
    | `"npz:PATH"` | arrays `x_train`, `y_train`, `x_test`, `y_test` and, if wanted, `class_names` and `mirror` |

    Each module of `ddnn_keras/data/sources` says which images are its test split.

    Args:
        name: A string from the table.
        image_size: Height and width of the images that the model sees, in pixels. By default the data set's own,
            where all its images have one size of at most 512, else 224.
        data_dir: Where TensorFlow Datasets keeps prepared data sets. Defaults to `~/tensorflow_datasets`.
        manual_dir: Where archives lie that were downloaded by hand, for TensorFlow Datasets to prepare.
        validation_fraction: Part of the training images to keep for validation, more than 0 and less than 1.
            Defaults to `0.1`. Test images never take part in it.
        train_images: How many of the training images to use; validation and test stay whole. By default all.
        mirror: Whether training mirrors half of the images. By default only for sets of TensorFlow Datasets in which
            a mirrored image keeps its label: not for digits, letters and other symbols.
        seed: Which images of `digits`, `folder:` and `npz:` are for validation, and which ones `train_images` are.
            Defaults to `0`. Sets of TensorFlow Datasets are shuffled already: their last part is for validation. If
            they do not fit into memory, their first `train_images` are used.

    Returns:
        An `ImageData`.

    Raises:
        ValueError: If an argument or the data set's content is not as above, it cannot be prepared, or a package that
            it needs is not installed.
        FileNotFoundError: If the folder or file is missing.

    Example:
    >>> digits = load("digits")
    >>> digits.image_shape, digits.num_classes, digits.num_train, digits.num_validation, digits.num_test
    ((16, 16, 1), 10, 1293, 144, 360)
    >>> images, labels = next(iter(digits.train(batch_size=64)))
    >>> tuple(images.shape), tuple(labels.shape)
    ((64, 16, 16, 1), (64,))
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(f"`validation_fraction` must be more than 0 and less than 1. Received: {validation_fraction}")
    if image_size is not None and not is_positive_integer(image_size):
        raise ValueError(f"`image_size` must be a positive integer or None. Received: {image_size!r}")
    source = read_source(name, data_dir, manual_dir, validation_fraction, seed)
    if train_images is not None:
        check_count("train_images", train_images, len(source.train), f"training images of {name!r}")
        source = dataclasses.replace(source, train=source.train.sample(train_images, seed))
    return pipelines(source)(name, source, image_size=image_size, mirror=mirror)


def read_source(name, data_dir=None, manual_dir=None, validation_fraction=0.1, seed=0):
    """The `Source` of that name, with the other arguments as in `load`."""
    options = types.SimpleNamespace(
        data_dir=data_dir, manual_dir=manual_dir, validation_fraction=validation_fraction, seed=seed
    )
    kind, colon, location = name.partition(":")
    module = SOURCES.get(kind + colon, "tfds")
    try:
        read = importlib.import_module(f"ddnn_keras.data.sources.{module}").read
        return read(name if module == "tfds" else location, options)
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        for extra, packages in EXTRAS.items():
            if missing in packages:
                raise ValueError(
                    f'`name` {name!r} needs {missing}, which is not installed: pip install "ddnn_keras[{extra}]"'
                ) from error
        raise


def pipelines(source):
    """The class that makes the pipelines of a `Source`."""
    if keras.backend.backend() != "tensorflow" and isinstance(source.train, InMemory) and source.decode is None:
        return BackendPipelines
    # Who has arrays and another backend need not have TensorFlow.
    from ddnn_keras.data.tensorflow_pipeline import TFPipelines

    return TFPipelines
