"""Sub-nets become a verified, self-describing `.tflite` file, or nothing gets the file's name."""

import dataclasses
import hashlib
import pathlib

import keras
import numpy as np
import tensorflow as tf

import ddnn_keras
from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.network.cost import count_macs
from ddnn_keras.pixels import PIXEL_RANGE
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE, named_depths, to_json, write_metadata
from ddnn_keras.tflite.bundle import check_subnets, convert_bundle
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import VerificationError, checked_arguments, verify

# What is known of a file stands beside it: its description, and thresholds that were found for a cascade.
BESIDE = (".json", ".cascade.json")
PROBES = 32  # images on which the file runs again once it is described


def export_subnets(subnets, path, *, quantize="none", calibration_images=None, io_dtype=None, images, labels, facts):
    """Converts a sub-net or several, verifies the file, describes it, and only then gives it its name.

    Two files result: `path`, whose metadata hold a JSON document, and that document again beside it, with the suffix
    `.json`. A process that is killed at any moment leaves under `path` either what was there before or the new file,
    verified and complete: it is made and verified in a temporary folder, and renamed. Its sidecar never describes
    another file than the one beside it: an older sidecar goes just before the rename and the new one comes just
    after, so at worst it is missing, and `read_metadata(path)` has the same content. Thresholds of a cascade that were
    found for an older file go with it.

    Args:
        subnets: The `keras.Model` to export, see `convert`; or a dict from signatures to models, see `convert_bundle`.
        path: Where to write; must end in `.tflite`. Missing folders are made.
        quantize: See `convert`. Defaults to `"none"`.
        calibration_images: See `convert`.
        io_dtype: See `convert`.
        images: Held-out raw pixels, see `verify`.
        labels: Their class indices.
        facts: A dict of what JSON can hold, to be kept with the file, such as the source of the weights. Of its entries
            `ddnn_keras.runtime` reads `"labels"`, a name for each class, and `"depths"`, a dict from signatures to
            dicts in which `"depth"` is the depth's name, the shallowest first. In a bundle without `"depths"`, each
            depth has the name of its signature, in the order of `subnets`.

    Returns:
        A dict from signatures to the `Verification` of each in the finished file.

    Raises:
        VerificationError: If a signature does not do what its sub-net does. An older file under `path` then stays.
        ValueError: If an argument is not as above.

    Example:
    >>> verifications = export_subnets(  # doctest: +SKIP
    ...     {"depth_18": model.subnet(18), "depth_34": model.subnet(34)},
    ...     "bundle.tflite",
    ...     images=test_images,
    ...     labels=test_labels,
    ...     facts={"labels": ["cat", "dog"], "depths": {"depth_18": {"depth": 18}, "depth_34": {"depth": 34}}},
    ... )
    >>> verifications["depth_18"].argmax_agreement  # doctest: +SKIP
    1.0
    """
    path = _tflite_path(path)
    subnets = subnets if isinstance(subnets, dict) else {DEFAULT_SIGNATURE: subnets}
    check_subnets(subnets)
    for subnet in subnets.values():
        checked_arguments(subnet, images, labels, quantize)
    _check_facts(facts, subnets)
    sidecar = path.with_suffix(".json")
    with atomic_write(path) as temporary:
        content = converted(subnets, quantize, calibration_images, io_dtype)
        temporary.write_bytes(content)
        verifications = {
            signature: verify(temporary, subnet, images, labels, quantize, signature, io_dtype)
            for signature, subnet in subnets.items()
        }
        document = {
            **({"depths": {name: {"depth": name} for name in subnets}} if len(subnets) > 1 else {}),
            **facts,
            "quantize": quantize,
            "calibration": describe_images(calibration_images) if MODES[quantize].needs_calibration else None,
            "signatures": {name: describe(content, name, found) for name, found in verifications.items()},
            "versions": versions(),
        }
        temporary.write_bytes(write_metadata(content, document))
        for signature in subnets:
            check_same_outputs(content, temporary, images[:PROBES], signature)
        size = temporary.stat().st_size
        for suffix in BESIDE:
            path.with_suffix(suffix).unlink(missing_ok=True)
    with atomic_write(sidecar) as temporary:
        temporary.write_text(to_json(document))
    return {name: dataclasses.replace(found, size_bytes=size) for name, found in verifications.items()}


def converted(subnets, quantize, calibration_images, io_dtype):
    """The bytes of a file with one sub-net or several."""
    if len(subnets) > 1:
        return convert_bundle(subnets, quantize, calibration_images, io_dtype)
    ((signature, subnet),) = subnets.items()
    return convert(subnet, quantize, calibration_images, signature, io_dtype)


def describe(content, signature, verification):
    """What the document of a file tells of one signature."""
    lite = LiteModel(content, signature)
    numbers = dataclasses.asdict(verification)
    # The size is that of the file without its document, and a file with failures gets none.
    del numbers["size_bytes"], numbers["failures"]
    return {
        "input": {**dataclasses.asdict(lite.input), "pixel_range": PIXEL_RANGE},
        "output": dataclasses.asdict(lite.output),
        "verification": numbers,
    }


def describe_images(images):
    """The number of calibration images and a digest of their pixels, by which a file's maker knows them again."""
    pixels = np.ascontiguousarray(images, "<f4")
    return {"num_images": len(pixels), "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}


def check_same_outputs(content, described, images, signature=None):
    """Raises a `VerificationError` unless two files, paths or bytes, compute the same on every image, bit for bit."""
    if not np.array_equal(LiteModel(content, signature)(images), LiteModel(described, signature)(images)):
        raise VerificationError(f"The metadata changed what the file computes on {len(images)} images.")


def versions():
    """The versions of what made a file, by name."""
    return {"ddnn_keras": ddnn_keras.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}


def _tflite_path(path):
    if pathlib.Path(path).suffix != ".tflite":
        raise ValueError(f"`path` must end in .tflite. Received: {str(path)!r}")
    # Before the files beside an old one are removed.
    if pathlib.Path(path).is_dir():
        raise ValueError(f"`path` must not be a folder. Received: {str(path)!r}")
    return pathlib.Path(path)


def _check_order(depths, subnets):
    """Raises a `ValueError` unless a device can tell depths apart, and which of them is the deepest."""
    costs = [count_macs(subnets[signature]) for signature in depths]
    if len(set(depths.values())) < len(depths) or costs != sorted(costs):
        received = ", ".join(f"{depth} of {cost:,} multiply-accumulates" for depth, cost in zip(depths.values(), costs))
        raise ValueError(
            f"`facts` must name each depth once, and the shallowest first, or `subnets` be in that order. "
            f"Received: {received}"
        )


def _check_facts(facts, subnets):
    to_json(facts)
    taken = {"quantize", "calibration", "signatures", "versions"}.intersection(facts)
    if taken:
        raise ValueError(f"`facts` must leave {', '.join(sorted(taken))} to the export. Received: {facts!r}")
    if unknown := named_depths(facts).keys() - subnets.keys():
        raise ValueError(
            f"`facts` must name the depths of signatures among {', '.join(subnets)}. Received: {', '.join(unknown)}"
        )
    _check_order(named_depths(facts) or dict(zip(subnets, subnets)), subnets)
    labels = facts.get("labels")
    for signature, subnet in subnets.items():
        num_classes = subnet.output_shape[-1]
        if labels is not None and (not isinstance(labels, list | tuple) or len(labels) != num_classes):
            raise ValueError(
                f"`facts` must have a list of {num_classes} labels, one for each class of {signature}. "
                f"Received: labels={labels!r}"
            )
