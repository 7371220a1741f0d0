"""The description in a file: it comes back as written and changes nothing else."""

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_networks import converted, held_out

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import named_depths, read_metadata, to_json, write_metadata
from ddnn_keras.runtime.tflite_file import parse
from ddnn_keras.tflite.modes import MODES

FACTS = {"depth": 18, "blocks": [2, 2, 2, 2], "labels": ["Äpfel", "日本"], "accuracy": 0.125, "source": None}


def buffers(content):
    return [b"" if buffer.data is None else bytes(buffer.data) for buffer in parse(content).buffers]


@pytest.mark.parametrize("quantize", MODES)
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


def test_a_second_description_replaces_the_first():
    once = write_metadata(converted("none"), {"note": "x" * 10_000})
    twice = write_metadata(once, {"depth": 34})
    assert read_metadata(twice) == {"depth": 34}
    assert len(parse(twice).buffers) == len(parse(once).buffers)
    assert len(twice) < len(once) - 9000


def test_weights_are_aligned_as_the_schema_demands():
    # The converter's own files are aligned to 4 bytes only, for the same reason that ours would be.
    model = schema.Model.GetRootAs(write_metadata(converted("int8"), FACTS))
    tables = [model.Buffers(index)._tab for index in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in tables if table.Offset(4)]
    assert len(starts) > 10
    assert {start % 16 for start in starts} == {0}


def test_a_file_without_description():
    with pytest.raises(
        ValueError, match=r"^`model` must be a file with DDNN_METADATA\. Received: \d+ bytes, which has"
    ):
        read_metadata(converted("none"))


@pytest.mark.parametrize("keep", [0, 10, 3000, -1])
def test_a_broken_file(tmp_path, keep):
    path = tmp_path / "broken.tflite"
    path.write_bytes(write_metadata(converted("none"), FACTS)[:keep])
    with pytest.raises(ValueError, match=r"^`model` must be a (whole )?TFLite file\. Received: '.*broken\.tflite'"):
        read_metadata(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^`model` must be an existing file\. Received: "):
        read_metadata(tmp_path / "gone.tflite")


@pytest.mark.parametrize("value", [np.zeros(3), {1, 2}, float("nan")])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(ValueError, match=r"^`facts` must be a dict of what JSON can hold\. Received: \{'depth': "):
        write_metadata(converted("none"), {"depth": value})


def test_the_document_is_json():
    assert json.loads(to_json(FACTS)) == FACTS


@pytest.mark.parametrize("depths", [[8, 14], {"depth_8": 8}, {"depth_8": {}}, "8"])
def test_depths_of_another_form(depths):
    with pytest.raises(ValueError, match=r"^`depths` in DDNN_METADATA must map signatures to entries with a depth\."):
        named_depths({"depths": depths})


@pytest.mark.parametrize("depth", [(1, 2, 2), 1.5, True, None])
def test_depths_that_are_no_names(depth):
    """Which JSON would change, or which could not be looked up."""
    with pytest.raises(ValueError, match=r"^`depths` in DDNN_METADATA must name depths by strings or integers\. Rec"):
        named_depths({"depths": {"depth_8": {"depth": depth}}})


def test_a_file_that_names_no_depths():
    assert named_depths({"labels": ["cat"]}) == {}
