"""Image classification sets of TensorFlow Datasets."""

import difflib
import pathlib
import re
import textwrap

import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from ddnn_keras.data.sources.in_memory import fits_in_memory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.sources.streamed import Streamed
from ddnn_keras.data.splits import held_out_count

# The downloader would try ten times, which takes over three minutes where there is no network.
DOWNLOAD_RETRIES = 2

TEST_SPLITS = ("test", "validation", "val")
TEST_FRACTION_OF_TRAIN_ONLY = 0.2

UNLABELLED_TEST_SPLITS = {
    "i_naturalist2017",
    "i_naturalist2018",
    "i_naturalist2021",
    "imagenet2012",
    "places365_small",
    "visual_domain_decathlon",
}

# Digits, letters, signs: mirrored, they are others or none.
NOT_MIRRORED = {
    "binary_alpha_digits",
    "cmaterdb",
    "emnist",
    "kmnist",
    "mnist",
    "mnist_corrupted",
    "omniglot",
    "svhn_cropped",
    "visual_domain_decathlon",
}


def read(name, options):
    """Any set with one image and one class to an example.

    The test split is `test`, or `validation` where `test` is missing or has no labels (as for ImageNet), or else the
    last fifth of `train`. Validation images are the last part of what remains of `train`. `name` is as `tfds.builder`
    takes it: `name`, `name:version`, `name/config`.
    """
    builder = find_builder(name, options.data_dir)
    image_key, label_key = image_and_label(name, builder)
    prepare(name, builder, options.manual_dir)
    splits = choose_splits(name, builder, options.validation_fraction)
    image, label = builder.info.features[image_key], builder.info.features[label_key]
    streamed = [Streamed(builder, split, image_key, label_key) for split in splits]
    in_memory = fits_in_memory(sum(map(len, streamed)), image.shape)
    return Source(
        *([split.in_memory() for split in streamed] if in_memory else streamed),
        class_names=label.names,
        shape=image.shape,
        decode=None if in_memory else image.decode_example,
        mirror=builder.name not in NOT_MIRRORED,
    )


def find_builder(name, data_dir):
    """The builder of that name; nothing is prepared yet."""
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except Exception as error:  # ValueError, AssertionError, ImportError, ...
        known = tfds.list_builders(with_community_datasets=False)
        base = re.split("[:/]", name)[0].lower()
        if base in known:
            raise ValueError(f"`name` {name!r} is not available: {one_line(error)}") from error
        close = difflib.get_close_matches(base, ["digits", "folder", "npz", *known])
        close = [f"folder:{name}"] if pathlib.Path(name).is_dir() else close
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "See the TensorFlow Datasets catalog."
        raise ValueError(f"`name` {name!r} is not a known data set. {hint}") from error


def image_and_label(name, builder):
    """The names of the image feature and of the label feature."""
    if not builder.info.supervised_keys:
        raise ValueError(f"`name` {name!r} is a data set without labels: give one with an image and one class each.")
    keys = builder.info.supervised_keys[:2]
    features = dict(builder.info.features.items())
    found = [features.get(key) for key in keys]
    if not (isinstance(found[0], tfds.features.Image) and isinstance(found[1], tfds.features.ClassLabel)):
        kinds = " and ".join(type(feature).__name__ for feature in found)
        raise ValueError(f"`name` {name!r} is not an image classification data set: it gives {kinds}.")
    return keys


def prepare(name, builder, manual_dir):
    """Downloads what is missing and writes the data set's files, unless that was done before."""
    downloader.MAX_RETRIES = DOWNLOAD_RETRIES
    config = tfds.download.DownloadConfig(manual_dir=manual_dir, try_download_gcs=False)
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:  # whatever network, disk, archives or a missing package come up with
        url = getattr(getattr(error, "request", None), "url", None)
        reason = f"{url} cannot be reached" if url else one_line(error)
        raise ValueError(
            f"`name` {name!r} is not in {builder.data_dir} and cannot be prepared there: either prepare it where there "
            f"is network and give its folder as `data_dir`, or download its archives by hand and give theirs as "
            f"`manual_dir` ({reason})."
        ) from error


def choose_splits(name, builder, validation_fraction):
    """The training, validation and test splits, as TensorFlow Datasets writes slices."""
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    if "train" not in counts:
        raise ValueError(f"`name` {name!r} has no split to train on. Its splits: {', '.join(counts)}")
    labelled = [split for split in TEST_SPLITS if split in counts]
    if builder.name in UNLABELLED_TEST_SPLITS:
        labelled = [split for split in labelled if split != "test"]
    count = counts["train"]
    if not labelled:
        count -= held_out_count(count, TEST_FRACTION_OF_TRAIN_ONLY)
        labelled = [f"train[{count}:]"]
    kept = count - held_out_count(count, validation_fraction)
    return f"train[:{kept}]", f"train[{kept}:{count}]", labelled[0]


def one_line(error):
    """An error's message without line breaks, and not longer than a few lines."""
    return textwrap.shorten(str(error), 400, placeholder=" ...").rstrip(".") or type(error).__name__
