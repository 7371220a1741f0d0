"""A sub-net becomes a verified, self-describing `.tflite` file, or nothing gets the file's name."""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

import ddnn_keras
from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.images import PIXEL_RANGE
from ddnn_keras.tflite.interpreter import LiteModel
from ddnn_keras.tflite.metadata import to_json, write_metadata
from ddnn_keras.tflite.verify import VerificationError, checked_arguments, verify

PROBES = 32  # images on which the file runs again once it is described


def export_subnet(subnet, path, *, quantize="none", calibration_images=None, images, labels, facts):
    """Converts a sub-net, verifies the file, describes it, and only then gives it its name.

    Two files result: `path`, whose metadata hold a JSON document, and that document again beside it, with the suffix
    `.json`. A process that is killed at any moment leaves under `path` either what was there before or the new file,
    verified and complete: it is made and verified in a temporary folder, and renamed. Its sidecar never describes
    another file than the one beside it: an older sidecar goes just before the rename and the new one comes just
    after, so at worst it is missing, and `read_metadata(path)` has the same content.

    Args:
        subnet: The `keras.Model` to export, see `convert`.
        path: Where to write; must end in `.tflite`. Missing folders are made.
        quantize: See `convert`. Defaults to `"none"`.
        calibration_images: See `convert`.
        images: Held-out raw pixels, see `verify`.
        labels: Their class indices.
        facts: A dict of what JSON can hold, to be kept with the file: depth, blocks per stage, names of the classes,
            the source of the weights.

    Returns:
        A `Verification` of the finished file.

    Raises:
        VerificationError: If the file does not do what `subnet` does. An older file under `path` then stays.
        ValueError: If an argument is not as above.

    Example:
    >>> verification = export_subnet(  # doctest: +SKIP
    ...     model.subnet(18), "resnet18.tflite", images=test_images, labels=test_labels, facts={"depth": 18}
    ... )
    >>> verification.argmax_agreement  # doctest: +SKIP
    1.0
    """
    path = _tflite_path(path)
    _, images, labels = checked_arguments(subnet, images, labels, quantize)
    _check_facts(facts)
    sidecar = path.with_suffix(".json")
    with atomic_write(path) as temporary:
        content = convert(subnet, quantize, calibration_images)
        temporary.write_bytes(content)
        verification = verify(temporary, subnet, images, labels, quantize)
        description = describe(content, quantize, verification, facts)
        temporary.write_bytes(write_metadata(content, description))
        check_same_outputs(content, temporary, images[:PROBES])
        verification = dataclasses.replace(verification, size_bytes=temporary.stat().st_size)
        sidecar.unlink(missing_ok=True)
    with atomic_write(sidecar) as temporary:
        temporary.write_text(to_json(description))
    return verification


def describe(content, quantize, verification, facts):
    """The document that a file carries: the caller's facts, and what the file itself tells."""
    lite = LiteModel(content)
    numbers = dataclasses.asdict(verification)
    # The size is that of the file without this document, and a file with failures gets none.
    del numbers["size_bytes"], numbers["failures"]
    return {
        **facts,
        "quantize": quantize,
        "signature": lite.signature,
        "input": {**dataclasses.asdict(lite.input), "pixel_range": PIXEL_RANGE},
        "output": dataclasses.asdict(lite.output),
        "verification": numbers,
        "versions": versions(),
    }


def check_same_outputs(content, described, images):
    """Raises a `VerificationError` unless two files, paths or bytes, compute the same on every image, bit for bit."""
    if not np.array_equal(LiteModel(content)(images), LiteModel(described)(images)):
        raise VerificationError(f"The metadata changed what the file computes on {len(images)} images.")


def versions():
    """The versions of what made a file, by name."""
    return {"ddnn_keras": ddnn_keras.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}


def _tflite_path(path):
    if pathlib.Path(path).suffix != ".tflite":
        raise ValueError(f"`path` must end in .tflite. Received: {str(path)!r}")
    return pathlib.Path(path)


def _check_facts(facts):
    to_json(facts)
    taken = {"quantize", "signature", "input", "output", "verification", "versions"}.intersection(facts)
    if taken:
        raise ValueError(f"`facts` must leave {', '.join(sorted(taken))} to the export. Received: {facts!r}")
