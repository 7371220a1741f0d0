"""The export as a whole: a verified file with its description, or none."""

import hashlib
import json
import os

import numpy as np
import pytest
from small_networks import converted, held_out, tiny_net, trained_net, training, untrained_ddnn

from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.digest import MARK, with_digest
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import read_metadata, write_metadata
from ddnn_keras.tflite.export import export_subnets
from ddnn_keras.tflite.verify import VerificationError

FACTS = {"blocks": [1, 1], "labels": [f"digit {digit}" for digit in range(10)], "source": "run/model.keras"}


def export_net(path, subnet=None, quantize="none", **arguments):
    images, labels = held_out()
    held = {"images": images, "labels": labels, "facts": FACTS, "calibration_images": training()[0][:100]}
    (verification,) = export_subnets(subnet or trained_net(), path, quantize=quantize, **{**held, **arguments}).values()
    return verification


def huge_net():
    """Its weights are beyond float16, and such a file must fail."""
    model = tiny_net()
    model.set_weights([1e6 * weights for weights in model.get_weights()])
    return model


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_describes_itself(tmp_path):
    path = tmp_path / "new" / "net.tflite"
    verification = export_net(path, quantize="int8")
    assert names(path.parent) == ["net.json", "net.tflite"]
    assert verification.size_bytes == path.stat().st_size
    facts = read_metadata(path)
    assert json.loads(path.with_suffix(".json").read_text()) == facts
    assert FACTS.items() <= facts.items()
    assert facts["quantize"] == "int8"
    assert (facts["depths"], facts["crop_pct"]) == ({"serving_default": {"depth": "serving_default"}}, 1.0)
    digest = hashlib.sha256(training()[0][:100].astype("<f4").tobytes()).hexdigest()
    assert facts["calibration"] == {"num_images": 100, "sha256": digest}
    (signature,) = facts["signatures"].values()
    assert signature["verification"]["accuracy"] == verification.accuracy > 0.9
    assert sorted(facts["versions"]) == ["ddnn_keras", "keras", "tensorflow"]
    lite = LiteModel(path)
    assert signature["input"] == {**vars(lite.input), "shape": [1, 16, 16, 1], "pixel_range": [0, 255]}
    assert signature["output"]["shape"] == [1, 10]
    assert signature["output"]["scale"] == lite.output.scale


def test_a_failed_verification_keeps_the_older_file_or_leaves_nothing(tmp_path):
    path = tmp_path / "net.tflite"
    with pytest.raises(VerificationError, match=r"On 200 images a logit differs by \d.*, allowed is \d"):
        export_net(path, huge_net(), "float16")
    assert names(tmp_path) == []
    export_net(path, tiny_net())
    assert read_metadata(path)["calibration"] is None
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    with pytest.raises(VerificationError):
        export_net(path, huge_net(), "float16")
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before
    assert names(tmp_path) == ["net.json", "net.tflite"]


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_description_and_a_digest_change_no_output(quantize):
    content, (images, _) = converted(quantize), held_out(32)
    described = with_digest(write_metadata(content, {**FACTS, "digest": MARK.decode()}))
    np.testing.assert_array_equal(LiteModel(described)(images), LiteModel(content)(images))


def test_a_sidecar_never_describes_another_file(tmp_path, monkeypatch):
    path = tmp_path / "net.tflite"
    export_net(path, tiny_net())
    # Thresholds that were found for this file are not for the next one.
    (tmp_path / "net.cascade.json").write_text("[[8, 0.5], [14, 0.0]]")
    rename, seen = os.replace, []

    def observed(source, target):
        seen.append((os.path.basename(target), names(tmp_path)))
        rename(source, target)

    monkeypatch.setattr(os, "replace", observed)
    export_net(path, tiny_net(), "float16")
    visible = [(target, [name for name in present if not name.startswith(".")]) for target, present in seen]
    assert visible == [("net.tflite", ["net.tflite"]), ("net.json", ["net.tflite"])]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"path": "net.lite"}, r"`path` must end in \.tflite\. Received: '.*net\.lite'"),
        ({"facts": {"labels": ["cat"]}}, r"`facts` must have 10 labels, one for each class\. Received: \['cat'\]"),
        ({"facts": {"depths": {"serving_default": {"depth": (1, 2)}}}}, r"`facts` must name depths .* \(1, 2\)"),
        ({"quantize": "int4"}, r"`quantize` must be one of none, float16, dynamic, int8, int16x8\. Received: 'int4'"),
        ({"io_dtype": "uint8"}, r"`io_dtype` must be float32 with none\. Received: 'uint8'"),
        ({"quantize": "int8", "calibration_images": None}, r"`calibration_images` must be an array of images"),
        ({"labels": [0]}, r"`labels` must be 200 integers"),
        ({"images": np.zeros((1, 4, 4, 1))}, r"`images` must have the shape "),
        ({"images": held_out()[0] / 255}, r"`images` must be raw pixels from 0 to 255, not scaled to 0\.\.1"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path, arguments, sentence):
    arguments = {"path": "net.tflite", "subnet": tiny_net(), **arguments}
    with pytest.raises(ValueError, match=f"^{sentence}"):
        export_net(**{**arguments, "path": tmp_path / arguments["path"]})
    assert names(tmp_path) == []


def test_depths_and_labels_have_names_if_no_others_are_given(tmp_path):
    images, labels = held_out(8)
    subnets = {"depth_1": tiny_net(), "depth_2": tiny_net()}
    export_subnets(subnets, tmp_path / "bundle.tflite", images=images, labels=labels, facts={})
    runtime = Runtime(tmp_path / "bundle.tflite")
    assert runtime.depths == ["depth_1", "depth_2"]
    assert runtime.predict(images[0], depth="depth_2").label in "0123456789"


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"depths": {"big": {"depth": 14}, "small": {"depth": 8}}},
        {"depths": {"small": {"depth": 8}, "big": {"depth": 8}}},
    ],
)
def test_depths_that_a_device_could_not_tell_apart(tmp_path, facts):
    model, (images, labels) = untrained_ddnn(width=2), held_out(8)
    subnets = {"big": model.subnet(14), "small": model.subnet(8)}
    with pytest.raises(ValueError, match=r"^`facts` must name each depth once, the shallowest first\. .* of \d+,"):
        export_subnets(subnets, tmp_path / "bundle.tflite", images=images, labels=labels, facts=facts)
    assert names(tmp_path) == []
