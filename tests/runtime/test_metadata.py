import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_networks import converted, held_out

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import read_metadata, write_metadata
from ddnn_keras.runtime.tflite_file import parse

FACTS = {"depth": 18, "blocks": [2, 2, 2, 2], "labels": ["Äpfel", "日本"], "accuracy": 0.125, "source": None}


def buffers(content):
    return [b"" if buffer.data is None else bytes(buffer.data) for buffer in parse(content).buffers]


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_outputs_and_weights_stay_identical(quantize):
    content, (images, _) = converted(quantize), held_out(16)
    described = write_metadata(content, FACTS)
    assert read_metadata(described) == FACTS
    assert buffers(described)[:-1] == buffers(content)
    assert np.array_equal(LiteModel(described)(images), LiteModel(content)(images))


def test_metadata_of_others_stay():
    names = [entry.name for entry in parse(converted("none")).metadata]
    assert b"min_runtime_version" in names
    assert [entry.name for entry in parse(write_metadata(converted("none"), {})).metadata] == [*names, b"DDNN_METADATA"]


def test_equal_vectors_are_stored_once():
    """The zero points of int8 weights above all. They take more than the description and the alignment add."""
    # The converter's own file: of an int8 one, biases have been corrected, and its vectors are stored once already.
    assert len(write_metadata(converted("dynamic"), {})) < len(converted("dynamic"))


def test_weights_are_aligned_as_the_schema_demands():
    # The converter's own files are aligned to 4 bytes only, for the same reason that ours would be.
    model = schema.Model.GetRootAs(write_metadata(converted("int8"), FACTS))
    tables = [model.Buffers(index)._tab for index in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(starts) > 10
    assert {start % 16 for start in starts} == {0}
