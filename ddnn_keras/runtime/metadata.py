"""A `.tflite` file carries its own description: a JSON document in the flatbuffer's metadata."""

import json

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.runtime.tflite_file import description, parse, serialize

NAME = "DDNN_METADATA"
# TensorFlow's name for the signature of a file with one network.
DEFAULT_SIGNATURE = "serving_default"


def write_metadata(content, facts):
    """Adds a description, a dict that JSON can hold, to a file's bytes, which have none."""
    tree = parse(content)
    tree.metadata = [*(tree.metadata or []), schema.MetadataT(name=NAME, buffer=len(tree.buffers))]
    tree.buffers.append(schema.BufferT(data=np.frombuffer(to_json(facts).encode(), np.uint8)))
    return serialize(tree)


def read_metadata(model):
    """The description in a `.tflite` file, a path or bytes: a dict."""
    tree = parse(model)
    entry = next((entry for entry in tree.metadata or [] if entry.name == NAME.encode()), None)
    if entry is None:
        raise ValueError(f"`model` must be a file with {NAME}. Received: {description(model)}, which has none")
    return json.loads(bytes(tree.buffers[entry.buffer].data))


def metadata_if_any(model):
    """The description in a file, or an empty dict where there is none."""
    try:
        return read_metadata(model)
    except ValueError:
        return {}


def named_depths(facts):
    """The depths that a description names: a dict from signatures to depths, the shallowest first.

    Example:
    >>> named_depths({"depths": {"depth_18": {"depth": 18, "blocks_per_stage": [2, 2, 2, 2]}}})
    {'depth_18': 18}
    """
    return {signature: entry["depth"] for signature, entry in facts.get("depths", {}).items()}


def to_json(facts):
    """A description as the text that files and their sidecars hold."""
    return json.dumps(facts, indent=2, allow_nan=False)
