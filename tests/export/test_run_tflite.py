"""export/run_tflite.py, as a user runs it."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from ddnn_keras import data
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runtime.metadata import write_metadata
from ddnn_keras.tflite.export import export_subnets

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("run")


@pytest.fixture(scope="module")
def files(finished_run, tmp_path_factory):
    """A float and an int8 file, and test images as PNG files of another size and in colour."""
    folder = tmp_path_factory.mktemp("files")
    subnet = load_network(finished_run / "model.keras").subnet(18)
    digits = data.load("digits")
    images, labels = next(iter(digits.test(60)))
    for quantize in ("none", "int8"):
        export_subnets(
            subnet,
            folder / f"{quantize}.tflite",
            quantize=quantize,
            calibration_images=digits.calibration_images(50),
            images=images.numpy(),
            labels=labels.numpy(),
            facts={"labels": [f"digit {name}" for name in digits.class_names]},
        )
    logits = subnet.predict(images, verbose=0)
    # Those that it is surest of: another size, and rounding, must not change its answer.
    second, first = np.sort(logits)[:, -2:].T
    surest = np.argsort(second - first)[:3]
    for number, index in enumerate(surest):
        image = Image.fromarray(images[index, ..., 0].numpy().round().astype("uint8"))
        image.convert("RGB").resize((32, 32), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return folder, [f"digit {index}" for index in logits[surest].argmax(-1)]


def test_an_image_is_turned_upright_and_cut_to_the_networks_shape(tmp_path):
    from run_tflite import read_image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 32)).astype("uint8")
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    np.testing.assert_allclose(read_image(tmp_path / "wide.png", (16, 16, 1))[..., 0], pixels[:, 8:24], atol=1)
    # A camera held upright: to be turned by a quarter, clockwise.
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(pixels[:, 8:24])).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", (16, 16, 1))[..., 0], pixels[:, 8:24])


def test_exif_that_nobody_can_read_is_passed_over(tmp_path):
    from run_tflite import read_image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.webp", exif=b"Exif\0\0XX\0*\0\0\0\x08\0\1", lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "image.webp", pixels.shape), pixels)


@pytest.mark.parametrize("sizes", [[(60, 90)] * 12, [(60, 90), (120, 80)] * 6], ids=["one size", "any size"])
def test_a_photo_is_shown_as_in_evaluation(sizes, tmp_path):
    from run_tflite import read_image

    pytest.importorskip("tensorflow")
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes):
        folder = tmp_path / ("test" if number < 4 else "train") / "ab"[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        colours = Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8))
        colours.resize((width, height), Image.Resampling.BILINEAR).save(folder / f"{number}.png")
    images = data.load(f"folder:{tmp_path}", image_size=28)
    (shown, _), *_ = images.test(4)
    for image, path in zip(np.asarray(shown), sorted((tmp_path / "test").rglob("*.png")), strict=True):
        read = read_image(path, images.image_shape, images.crop_pct)
        assert np.abs(image - read).mean() < 1
        assert np.abs(image - read_image(path, images.image_shape, 0.5)).mean() > 5


def test_an_image_of_the_networks_size_is_shown_whole(files):
    from run_tflite import read_image

    whole = np.asarray(Image.open(files[0] / "0.png"))
    np.testing.assert_array_equal(read_image(files[0] / "0.png", whole.shape, crop_pct=0.875), whole)


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_prints_the_top_classes_and_the_latency(files, script, quantize):
    folder, expected = files
    images = [folder / f"{index}.png" for index in range(3)]
    finished = script("export/run_tflite.py", folder / f"{quantize}.tflite", *images, "--top", 2)
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == 3
    for line, image, answer in zip(lines, images, expected):
        assert line.startswith(f"{image}: {answer} ")
        assert line.count("digit") == 2
        assert line.endswith(" ms)")


def test_it_needs_neither_keras_nor_tensorflow(files):
    """As on a board that has Python, NumPy, Pillow and ai-edge-litert alone."""
    folder, expected = files
    bare = """
import runpy, sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("keras", "tensorflow", "jax", "sklearn", "matplotlib", "rich"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Missing())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    command = [sys.executable, "-c", bare, str(ROOT / "export" / "run_tflite.py")]
    arguments = [str(folder / "int8.tflite"), str(folder / "0.png")]
    finished = subprocess.run(command + arguments, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert expected[0] in finished.stdout


def test_sixteen_bits_of_grey_are_read_as_in_training(tmp_path):
    from run_tflite import read_image

    tf = pytest.importorskip("tensorflow")
    grey = np.random.default_rng(0).integers(0, 65536, (16, 16)).astype("uint16")
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = tf.io.decode_image((tmp_path / "grey.png").read_bytes(), channels=1).numpy()
    assert len(np.unique(expected)) > 100
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", (16, 16, 1)), expected)
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png", (16, 16, 3)), np.tile(expected, 3))


def test_a_file_without_names_of_classes(files, tmp_path, script):
    folder, expected = files
    content = write_metadata((folder / "none.tflite").read_bytes(), {"labels": None})
    (tmp_path / "nameless.tflite").write_bytes(content)
    finished = script("export/run_tflite.py", tmp_path / "nameless.tflite", folder / "0.png")
    assert finished.returncode == 0, finished.stderr
    assert f": {expected[0].removeprefix('digit ')} " in finished.stdout


def test_mistakes(files, mistake, tmp_path):
    folder, _ = files
    model, image = folder / "none.tflite", folder / "0.png"
    assert "/no/file.tflite" in mistake("export/run_tflite.py", "/no/file.tflite", image)
    assert "/no/image.png" in mistake("export/run_tflite.py", model, "/no/image.png")
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png is not an image file" in mistake("export/run_tflite.py", model, tmp_path / "text.png")
    Image.fromarray(np.zeros((8, 8), "float32")).save(tmp_path / "deep.tiff")
    sentence = mistake("export/run_tflite.py", model, tmp_path / "deep.tiff")
    assert "deep.tiff" in sentence and "must have 8 bits a channel" in sentence and "mode F" in sentence
    # A header that says 60,000 times 60,000 pixels, as much as would take all memory.
    huge = b"P5 60000 60000 255\n" + bytes(100)
    (tmp_path / "huge.pgm").write_bytes(huge)
    assert "huge.pgm is not an image file" in mistake("export/run_tflite.py", model, tmp_path / "huge.pgm")
    (tmp_path / "half.tflite").write_bytes(model.read_bytes()[:1000])
    assert "half.tflite" in mistake("export/run_tflite.py", tmp_path / "half.tflite", image)
    assert "0 is not a positive integer" in mistake("export/run_tflite.py", model, image, "--threads", 0)
    assert "images" in mistake("export/run_tflite.py", model)
    assert np.asarray(Image.open(image)).shape == (32, 32, 3)
