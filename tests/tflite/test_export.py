"""The export as a whole: a verified file with its description, or none."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from small_networks import converted, held_out, residual_net, trained_net, training

from ddnn_keras import DDNN
from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import read_metadata, write_metadata
from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.export import check_same_outputs, export_subnets
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import VerificationError, verify

FACTS = {"depth": 8, "blocks": [1, 1], "labels": [str(digit) for digit in range(10)], "source": "run/model.keras"}


def export_net(path, subnet=None, quantize="none", **arguments):
    images, labels = held_out()
    held = {"images": images, "labels": labels, "facts": FACTS, "calibration_images": training()[0][:100]}
    (verification,) = export_subnets(subnet or trained_net(), path, quantize=quantize, **{**held, **arguments}).values()
    return verification


def linear_net(scale=1.0):
    """One layer, soon converted. With the scale 1e6 its weights are beyond float16, and such a file must fail."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 1))
    model = keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))))
    model.set_weights([scale * weights for weights in model.get_weights()])
    return model


def digest(images):
    return hashlib.sha256(images.astype("<f4").tobytes()).hexdigest()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_real_thing(tmp_path):
    path = tmp_path / "new" / "net.tflite"
    verification = export_net(path, quantize="int8")
    assert verification.passed
    assert verification.size_bytes == path.stat().st_size
    assert names(path.parent) == ["net.json", "net.tflite"]
    assert verify(path, trained_net(), *held_out(), "int8").argmax_agreement == verification.argmax_agreement


@pytest.mark.parametrize("quantize", MODES)
def test_a_file_describes_itself(tmp_path, quantize):
    path = tmp_path / "net.tflite"
    verification = export_net(path, quantize=quantize)
    facts = read_metadata(path)
    assert json.loads((tmp_path / "net.json").read_text()) == facts
    assert FACTS.items() <= facts.items()
    assert (facts["quantize"], list(facts["signatures"])) == (quantize, ["serving_default"])
    calibrated = {"num_images": 100, "sha256": digest(training()[0][:100])}
    assert facts["calibration"] == (calibrated if MODES[quantize].needs_calibration else None)
    signature = facts["signatures"]["serving_default"]
    assert signature["verification"]["accuracy"] == verification.accuracy
    assert sorted(facts["versions"]) == ["ddnn_keras", "keras", "tensorflow"]
    lite = LiteModel(path)
    assert signature["input"] == {
        "name": "image",
        "shape": [1, 16, 16, 1],
        "dtype": lite.input.dtype,
        "scale": lite.input.scale,
        "zero_point": lite.input.zero_point,
        "pixel_range": [0, 255],
    }
    assert signature["output"]["shape"] == [1, 10]
    assert signature["output"]["scale"] == lite.output.scale


def test_a_failed_verification_leaves_nothing(tmp_path):
    with pytest.raises(VerificationError, match=r"200 images show: a logit differs by \d.*, allowed is \d"):
        export_net(tmp_path / "net.tflite", linear_net(1e6), "float16")
    assert names(tmp_path) == []


def test_a_failed_verification_keeps_the_older_file(tmp_path):
    path = tmp_path / "net.tflite"
    export_net(path, linear_net())
    before = path.read_bytes(), path.with_suffix(".json").read_bytes()
    with pytest.raises(VerificationError):
        export_net(path, linear_net(1e6), "float16")
    assert (path.read_bytes(), path.with_suffix(".json").read_bytes()) == before
    assert names(tmp_path) == ["net.json", "net.tflite"]


def test_a_folder_in_the_file_s_place_costs_nothing(tmp_path):
    (tmp_path / "net.tflite").mkdir()
    (tmp_path / "net.json").write_text("of somebody")
    with pytest.raises(ValueError, match=r"^`path` must not be a folder\. Received: '.*net\.tflite'$"):
        export_net(tmp_path / "net.tflite", linear_net())
    assert (tmp_path / "net.json").read_text() == "of somebody"


def test_metadata_that_change_the_outputs_are_noticed():
    content, (images, _) = converted("none"), held_out(32)
    tree = parse(content)
    largest = max(tree.buffers, key=lambda buffer: 0 if buffer.data is None else len(buffer.data))
    largest.data = np.roll(largest.data, 4)
    check_same_outputs(content, write_metadata(content, FACTS), images)
    with pytest.raises(VerificationError, match=r"^The metadata changed what the file computes on 32 images\.$"):
        check_same_outputs(content, serialize(tree), images)


def test_a_sidecar_never_describes_another_file(tmp_path, monkeypatch):
    path = tmp_path / "net.tflite"
    export_net(path, linear_net())
    # Thresholds that were found for this file are not for the next one.
    (tmp_path / "net.cascade.json").write_text("[[8, 0.5], [14, 0.0]]")
    rename, seen = os.replace, []

    def observed(source, target):
        seen.append((os.path.basename(target), names(tmp_path)))
        rename(source, target)

    monkeypatch.setattr(os, "replace", observed)
    export_net(path, linear_net(), "float16")
    visible = [(target, [name for name in present if not name.startswith(".")]) for target, present in seen]
    assert visible == [("net.tflite", ["net.tflite"]), ("net.json", ["net.tflite"])]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"path": "net.lite"}, r"`path` must end in \.tflite\. Received: '.*net\.lite'"),
        ({"path": "net"}, r"`path` must end in \.tflite"),
        ({"facts": {"depth": {1}}}, r"`facts` must be a dict of what JSON can hold\. Received: "),
        ({"facts": {"versions": 1}}, r"`facts` must leave versions to the export\. Received: "),
        ({"facts": [1]}, r"`facts` must be a dict of what JSON can hold\. Received: \[1\]"),
        (
            {"facts": {"labels": ["cat"]}},
            r"`facts` must have a list of 10 labels, one for each class of serving_default",
        ),
        ({"facts": {"labels": "0123456789"}}, r"`facts` must have a list of 10 labels"),
        (
            {"facts": {"depths": {"depth_8": {"depth": 8}}}},
            r"`facts` must name the depths of signatures among serving_default\. Received: depth_8",
        ),
        (
            {"facts": {"depths": {"serving_default": {"depth": (1, 2, 2)}}}},
            r"`depths` in DDNN_METADATA must name depths by strings or integers\. Received: \(1, 2, 2\)",
        ),
        ({"quantize": "int4"}, r"`quantize` must be one of "),
        ({"quantize": "int8", "calibration_images": None}, r"`calibration_images` must be given for quantize='int8'"),
        ({"labels": [0]}, r"`labels` must be 200 integers"),
        ({"images": np.zeros((1, 4, 4, 1))}, r"`images` must have the shape "),
        ({"images": held_out()[0] / 255}, r"`images` must be raw pixels from 0 to 255, not scaled to 0\.\.1"),
    ],
)
def test_wrong_arguments_leave_nothing(tmp_path, arguments, sentence):
    arguments = {"path": "net.tflite", "subnet": residual_net(), **arguments}
    with pytest.raises(ValueError, match=f"^{sentence}"):
        export_net(**{**arguments, "path": tmp_path / arguments["path"]})
    assert names(tmp_path) == []


def test_depths_of_a_bundle_have_their_signatures_names_if_no_others_are_given(tmp_path):
    images, labels = held_out(8)
    export_subnets(two_depths(), tmp_path / "bundle.tflite", images=images, labels=labels, facts={})
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
    model = DDNN((8, 14), "resnet_cifar", width=2, input_shape=(16, 16, 1))
    images, labels = held_out(8)
    subnets = {"big": model.subnet(14), "small": model.subnet(8)}
    with pytest.raises(ValueError, match=r"^`facts` must name each depth once, and the shallowest first, .* of \d+,"):
        export_subnets(subnets, tmp_path / "bundle.tflite", images=images, labels=labels, facts=facts)
    assert names(tmp_path) == []


def two_depths(scale=1.0):
    """What goes into one file of two signatures."""
    return {"depth_1": linear_net(), "depth_2": linear_net(scale)}


# What is exported without end, in turn a file that passes and one that does not: a function of the scale that fails
# beyond float16, and how numbers are stored in the file that passes.
KILLED = {"single": (linear_net, "none"), "bundle": (two_depths, "int8")}

# Tells when the first file has its name.
EXPORT_FOREVER = """
import contextlib, sys
from test_export import FACTS, KILLED, export_subnets, held_out, training
from ddnn_keras.tflite.verify import VerificationError
path, (make, quantize) = sys.argv[1], KILLED[sys.argv[2]]
right, wrong = make(), make(1e6)
images, labels = held_out(8)
held = {"images": images, "labels": labels, "facts": FACTS, "calibration_images": training()[0][:20]}
export_subnets(right, path, quantize=quantize, **held)
print("written", flush=True)
while True:
    with contextlib.suppress(VerificationError):
        export_subnets(wrong, path, quantize="float16", **held)
        sys.exit("a wrong file passed")
    export_subnets(right, path, quantize=quantize, **held)
"""


@pytest.mark.parametrize(
    ("kind", "earliest"), [("single", 0.0), ("single", 0.5), ("single", 1.0), ("bundle", 0.0), ("bundle", 0.7)]
)
def test_kill_never_leaves_an_unverified_file(tmp_path, kind, earliest):
    path, (make, quantize) = tmp_path / "net.tflite", KILLED[kind]
    command = [sys.executable, "-c", EXPORT_FOREVER, path, kind]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=environment) as process:
        assert process.stdout.readline() == b"written\n"
        time.sleep(earliest + random.uniform(0, 0.5))
        assert process.poll() is None
        process.kill()
    assert path.exists()
    subnets = make() if kind == "bundle" else {"serving_default": make()}
    for signature, subnet in subnets.items():
        verify(path, subnet, *held_out(8), quantize, signature)
    sidecar = path.with_suffix(".json")
    assert not sidecar.exists() or json.loads(sidecar.read_text()) == read_metadata(path)
