"""The digest in a file: a damaged file is refused, and never computes anything else."""

import json

import numpy as np
import pytest
from small_networks import held_out

from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import read_metadata


def cut(content, random, start, end):
    return content[: random.integers(start, end)]


def flip_bits(content, random, start, end):
    content = bytearray(content)
    for place in random.integers(start, end, random.choice([1, 8, 64])):
        content[place] ^= 1 << random.integers(8)
    return bytes(content)


def zero(content, random, start, end):
    first, last = sorted(random.integers(start, end, 2))
    return content[:first] + bytes(last - first) + content[last:]


def test_300_damaged_files_are_refused_or_compute_the_same(bundle, tmp_path):
    content, path, (images, _) = bundle.read_bytes(), tmp_path / "damaged.tflite", held_out(4)
    whole = Runtime(bundle)
    expected = {depth: whole.logits(images, depth).tolist() for depth in whole.depths}
    description = json.dumps(read_metadata(bundle), indent=2).encode()
    start = content.index(description)
    refused = 0
    for damage in (cut, flip_bits, zero):
        for place in [(0, len(content)), (start, start + len(description))]:
            for seed in range(50):
                path.write_bytes(damage(content, np.random.default_rng(seed), *place))
                try:
                    runtime = Runtime(path)
                except ValueError as error:
                    refused += 1
                    assert str(error).startswith("`model` must be a ") and "\n" not in str(error)
                else:
                    assert {depth: runtime.logits(images, depth).tolist() for depth in runtime.depths} == expected
    assert refused > 285  # what is flipped twice is as before, and zeros stay zeros


def test_every_door_refuses_a_damaged_file(bundle, mistake, tmp_path):
    content = bytearray(bundle.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    for script, *arguments in [
        ("run_tflite.py", "photo.png"),
        ("benchmark_tflite.py",),
        ("inspect_tflite.py",),
        ("web_page.py", "--output", tmp_path / "site"),
        ("calibrate_cascade.py",),
    ]:
        assert "damaged.tflite', which is damaged" in mistake(f"export/{script}", path, *arguments)
    with pytest.raises(ValueError, match=r"^`model` must be a whole TFLite file\. Received: \d+ bytes, which is dam"):
        LiteModel(bytes(content), "depth_8")
