import sys

import pytest
from conftest import ROOT, RUN, ended
from PIL import Image
from small_networks import held_out

from ddnn_keras.runtime import Runtime

SCRIPT = "export/run_tflite.py"


@pytest.fixture(scope="module")
def photos(bundle, tmp_path_factory):
    """Held-out images as PNG files of another size and in colour, and the classes that the network gives them."""
    folder, runtime, (images, _) = tmp_path_factory.mktemp("photos"), Runtime(bundle), held_out(60)
    answers = [runtime.predict(image) for image in images]
    # Those that it is surest of: another size, and rounding, must not change its answer.
    surest = sorted(range(60), key=lambda index: -answers[index].confidence)[:3]
    paths = [folder / f"{index}.png" for index in surest]
    for index, path in zip(surest, paths):
        image = Image.fromarray(images[index, ..., 0].round().astype("uint8"))
        image.convert("RGB").resize((32, 32), Image.Resampling.NEAREST).save(path)
    return paths, [answers[index].label for index in surest]


def test_prints_the_top_classes_and_the_latency(bundle, photos, printed):
    paths, expected = photos
    lines = printed(SCRIPT, bundle, *paths, "--top", 2).splitlines()
    for line, path, answer in zip(lines, paths, expected, strict=True):
        assert line.startswith(f"{path}: {answer} ")
        assert line.count("digit") == 2
        assert line.endswith(" ms)")


def test_it_needs_neither_keras_nor_tensorflow(bundle, photos):
    """As on a board that has Python, NumPy, Pillow and ai-edge-litert alone."""
    (path, *_), (answer, *_) = photos
    bare = """
import sys
for name in ("keras", "tensorflow", "jax", "sklearn", "matplotlib", "rich"):
    sys.modules[name] = None
"""
    finished = ended([sys.executable, "-c", bare + RUN, ROOT / SCRIPT, bundle, path], cwd=ROOT)
    assert finished.stderr == ""
    assert answer in finished.stdout


def test_mistakes(bundle, photos, mistake, tmp_path):
    (path, *_), _ = photos
    assert "--depth must be one of 8, 14. Received: depth='34'" in mistake(SCRIPT, bundle, path, "--depth", 34)
    assert "/no/file.tflite" in mistake(SCRIPT, "/no/file.tflite", path)
    assert "/no/image.png" in mistake(SCRIPT, bundle, "/no/image.png")
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png is not an image file" in mistake(SCRIPT, bundle, tmp_path / "text.png")
