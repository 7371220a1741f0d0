"""Sub-nets become a verified `.tflite` file with a description. A file that fails gets no name."""

import dataclasses
import hashlib
import pathlib

import keras
import numpy as np
import tensorflow as tf

import ddnn_keras
from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.network.cost import count_macs
from ddnn_keras.network.graph import has_kernel
from ddnn_keras.pixels import PIXEL_RANGE, checked_labels, checked_raw_images
from ddnn_keras.runtime.digest import MARK, with_digest
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE, named_depths, to_json, write_metadata
from ddnn_keras.tflite.bundle import convert_bundle
from ddnn_keras.tflite.convert import image_shape
from ddnn_keras.tflite.layer_names import OUTPUT
from ddnn_keras.tflite.modes import mode_named
from ddnn_keras.tflite.verify import verify

# The files that belong to a `.tflite` file: its description, a cascade's thresholds, a report on its layers.
BESIDE = (".json", ".cascade.json", ".layers.csv", ".layers.png")


def export_subnets(
    subnets, path, *, quantize="none", calibration_images=None, io_dtype=None, keep=(), images, labels, facts
):
    """Converts one or several sub-nets, verifies the file, describes it, and only then gives it its name.

    It writes two files: `path` with a JSON document in its metadata, and a `.json` file beside it with the same one. A
    process that is killed leaves the old `path` or the new one, verified and complete. What describes the old file, and
    its cascade's thresholds, go just before the new `path` appears.

    Args:
        subnets: The `keras.Model` to export, see `convert`. Or a dict from signatures to models, the shallowest first.
        path: The path of the file, which must end in `.tflite`. Missing folders are made.
        quantize: How numbers are stored and computed: `"none"` (the default, float32), `"float16"`, `"dynamic"`,
            `"int8"` or `"int16x8"`. `export/README.md` compares them.
        calibration_images: Training images for `"int8"` and `"int16x8"`, see `convert`.
        io_dtype: The dtype of the file's input and output. `"int8"` files take `"int8"` (the default: a camera's byte
            minus 128), `"uint8"` (a camera's byte) or `"float32"`. `"int16x8"` files take `"float32"` (the default) or
            `"int16"`. All others take `"float32"`.
        keep: Names of layers of an `"int8"` file that compute in float32, with what follows them and has no weights.
            `"logits"` is the last layer. See `ddnn_keras.tflite.mixed_precision`.
        images: Held-out raw pixels on which the file is verified, see `verify`.
        labels: Their class indices.
        facts: A dict that JSON can hold, to be kept with the file. `ddnn_keras.runtime` reads three of its entries.
            `"depths"` maps signatures to dicts, in which `"depth"` is the depth's name. By default that is the
            signature. `"labels"` has a name for each class, by default its index. `"crop_pct"` is the fraction of an
            image's shorter side that the network sees, by default 1.

    Returns:
        A dict from signatures to the `Verification` of each in the finished file.

    Raises:
        VerificationError: If a signature does not do what its sub-net does. An older file under `path` then stays.
        ValueError: If an argument is not as above.
    """
    path, mode = pathlib.Path(path), mode_named(quantize, io_dtype, keep)
    if path.suffix != ".tflite":
        raise ValueError(f"`path` must end in .tflite. Received: {str(path)!r}")
    subnets = subnets if isinstance(subnets, dict) else {DEFAULT_SIGNATURE: subnets}
    check_kept(keep, subnets)
    for subnet in subnets.values():
        images = checked_raw_images("images", images, image_shape(subnet))
        labels = checked_labels("`labels`", labels, len(images), subnet.output_shape[-1])
    facts = with_defaults(facts, subnets)
    with atomic_write(path) as temporary:
        content = convert_bundle(subnets, mode, calibration_images)
        verifications = {
            signature: verify(content, subnet, images, labels, mode, signature) for signature, subnet in subnets.items()
        }
        facts |= {
            "digest": MARK.decode(),
            "quantize": quantize,
            "keep": list(keep),
            "calibration": describe_images(calibration_images) if mode.needs_calibration else None,
            "signatures": {name: describe(content, name, found) for name, found in verifications.items()},
            "versions": {
                "ddnn_keras": ddnn_keras.__version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
            },
        }
        temporary.write_bytes(with_digest(write_metadata(content, facts)))
        size = temporary.stat().st_size
        for suffix in BESIDE:
            path.with_suffix(suffix).unlink(missing_ok=True)
    with atomic_write(path.with_suffix(".json")) as temporary:
        temporary.write_text(to_json(facts))
    return {name: dataclasses.replace(found, size_bytes=size) for name, found in verifications.items()}


def check_kept(keep, subnets):
    """Raises a `ValueError` if one of the layers to keep is in no sub-net."""
    layers = {layer.name: None for subnet in subnets.values() for layer in subnet.layers[:-1] if has_kernel(layer)}
    known = [*layers, OUTPUT]
    if missing := [name for name in keep if name not in known]:
        raise ValueError(f"`keep` must be layers among {', '.join(known)}. Received: {', '.join(missing)}")


def with_defaults(facts, subnets):
    """`facts` with the entries that a device needs. Refuses those that do not fit the classes and depths."""
    num_classes = next(iter(subnets.values())).output_shape[-1]
    defaults = {
        "depths": {signature: {"depth": signature} for signature in subnets},
        "labels": [str(index) for index in range(num_classes)],
        "crop_pct": 1.0,
    }
    facts = {**defaults, **facts}
    if len(facts["labels"]) != num_classes:
        raise ValueError(f"`facts` must have {num_classes} labels, one for each class. Received: {facts['labels']}")
    if facts["depths"].keys() != subnets.keys():
        raise ValueError(f"`facts` must have depths of {', '.join(subnets)}. Received: {', '.join(facts['depths'])}")
    depths = named_depths(facts)
    if unnamed := [depth for depth in depths.values() if not isinstance(depth, int | str)]:
        raise ValueError(f"`facts` must name depths by numbers or strings. Received: {unnamed[0]!r}")
    costs = [count_macs(subnets[signature]) for signature in depths]
    if len(set(depths.values())) < len(depths) or costs != sorted(costs):
        received = ", ".join(f"{depth} of {cost:,} multiply-accumulates" for depth, cost in zip(depths.values(), costs))
        raise ValueError(f"`facts` must name each depth once, the shallowest first. Received: {received}")
    return facts


def describe(content, signature, verification):
    """What the description tells about one signature."""
    lite = LiteModel(content, signature)
    numbers = dataclasses.asdict(verification)
    del numbers["size_bytes"]  # without the description, which is not in the file yet
    return {
        "input": {**dataclasses.asdict(lite.input), "pixel_range": PIXEL_RANGE},
        "output": dataclasses.asdict(lite.output),
        "verification": numbers,
    }


def describe_images(images):
    """The number of calibration images and a digest of their pixels, which tells whether others are the same."""
    pixels = np.ascontiguousarray(images, "<f4")
    return {"num_images": len(pixels), "sha256": hashlib.sha256(pixels.tobytes()).hexdigest()}
