import re

from inspect_tflite import inspect
from small_networks import converted

from ddnn_keras.runtime.metadata import read_metadata
from ddnn_keras.runtime.tflite_file import parse


def test_a_bundle_s_depths_and_what_they_share(bundle):
    signatures = inspect(bundle)
    assert list(signatures) == ["depth_8", "depth_14"]
    shallow, deep = signatures.values()
    assert shallow["input"] == {"image": "INT8 (1, 16, 16, 1)"}
    assert shallow["output"] == {"logits": "INT8 (1, 10)"}
    # Three stages of one block or two, and projections in two of them.
    assert (shallow["operators"]["CONV_2D"], deep["operators"]["CONV_2D"]) == (1 + 3 * 2 + 2, 1 + 3 * 4 + 2)
    assert shallow["types"].keys() == {"INT8", "INT32"}
    # All of the shallow one's but its classifier, biases and scales.
    assert shallow["shared"] > 0.9 * shallow["constants"]
    assert deep["shared"] == shallow["shared"]
    stored = sum(0 if buffer.data is None else len(buffer.data) for buffer in parse(bundle).buffers)
    apart = shallow["constants"] + deep["constants"]
    assert 0 < stored - (apart - deep["shared"]) < 20_000  # the description
    assert inspect(converted("none"))["serving_default"]["shared"] == 0


def test_the_script(bundle, printed, mistake, tmp_path):
    output = printed("export/inspect_tflite.py", bundle)
    for expected in ("depth_14", "CONV_2D 15", "quantize: int8", "digit 9"):
        assert expected in output
    verification = read_metadata(bundle)["signatures"]["depth_8"]["verification"]
    assert f"depth_8: {verification['accuracy']:.2%} accurate on 200 images" in output
    # Rich would take it for markup.
    named = tmp_path / "width[bold]" / "net.tflite"
    named.parent.mkdir()
    named.write_bytes(converted("none"))
    assert "width[bold]" in re.sub(r"\s", "", printed("export/inspect_tflite.py", named))
    (tmp_path / "bare.tflite").write_bytes(converted("none"))
    assert "has no description" in printed("export/inspect_tflite.py", tmp_path / "bare.tflite")
    assert "gone.tflite" in mistake("export/inspect_tflite.py", tmp_path / "gone.tflite")
