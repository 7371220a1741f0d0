"""A `.tflite` file carries its own description: a JSON document among the flatbuffer's metadata."""

import json

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.depths import is_name
from ddnn_keras.runtime.tflite_file import description, parse, serialize

NAME = "DDNN_METADATA"
# Of a file of one network, as TensorFlow calls it.
DEFAULT_SIGNATURE = "serving_default"


def write_metadata(content, facts):
    """Adds a description to a file, in place of an earlier one.

    Args:
        content: The `bytes` of a `.tflite` file.
        facts: A dict of what JSON can hold.

    Returns:
        The `bytes` of the described file. It computes what `content` computes: no weight, operator or signature
        changes.

    Raises:
        ValueError: If `content` is not a TFLite file or `facts` not as above.
    """
    tree = parse(content)
    document = schema.BufferT(data=np.frombuffer(to_json(facts).encode(), np.uint8))
    entry = _entry(tree)
    if entry is None:
        entry = schema.MetadataT(name=NAME, buffer=len(tree.buffers))
        tree.metadata = [*(tree.metadata or []), entry]
        tree.buffers.append(document)
    tree.buffers[entry.buffer] = document
    return serialize(tree)


def read_metadata(model):
    """The description in a file.

    Args:
        model: The path of a `.tflite` file, or its bytes.

    Returns:
        The dict that `write_metadata` was given, as JSON holds it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a whole TFLite file, or has no description.
    """
    tree = parse(model)
    entry = _entry(tree)
    if entry is None:
        raise ValueError(f"`model` must be a file with {NAME}. Received: {description(model)}, which has none")
    return json.loads(bytes(tree.buffers[entry.buffer].data))


def named_depths(facts):
    """The depths that a description names.

    Args:
        facts: What `read_metadata` gave. Its entry `"depths"` is a dict from signatures to dicts, in which `"depth"` is
            the depth's name, a string or an integer, the shallowest depth first.

    Returns:
        A dict from signatures to depths; empty if there is no such entry.

    Raises:
        ValueError: If the entry has another form.

    Example:
    >>> named_depths({"depths": {"depth_18": {"depth": 18, "blocks_per_stage": [2, 2, 2, 2]}}})
    {'depth_18': 18}
    """
    try:
        depths = {signature: known["depth"] for signature, known in facts.get("depths", {}).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"`depths` in {NAME} must map signatures to entries with a depth. Received: {facts!r}"
        ) from error
    for depth in depths.values():
        if not is_name(depth):
            raise ValueError(f"`depths` in {NAME} must name depths by strings or integers. Received: {depth!r}")
    return depths


def to_json(facts):
    """`facts` as the text that files and their sidecars hold.

    Raises:
        ValueError: If JSON cannot hold them.

    Example:
    >>> print(to_json({"depth": 18}))
    {
      "depth": 18
    }
    """
    try:
        return json.dumps({**facts}, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`facts` must be a dict of what JSON can hold. Received: {facts!r}") from error


def _entry(tree):
    return next((entry for entry in tree.metadata or [] if entry.name in (NAME, NAME.encode())), None)
