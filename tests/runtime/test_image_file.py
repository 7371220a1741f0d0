import struct

import numpy as np
import pytest
from PIL import Image

from ddnn_keras import data
from ddnn_keras.runtime.image_file import raw_pixels, read_image

# The second one turns the image, and has a maker that is a fraction, with which Pillow cannot write it again.
EXIFS = {
    b"XX\0*\0\0\0\x08\0\1": 0,
    struct.pack("<2sHIH HHII HHII QI", b"II", 42, 8, 2, 271, 5, 1, 38, 274, 3, 1, 6, 0, 1): -1,
}


@pytest.mark.parametrize(("exif", "turns"), EXIFS.items(), ids=["unreadable", "turned"])
def test_odd_exif(tmp_path, exif, turns):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.webp", exif=b"Exif\0\0" + exif, lossless=True)
    np.testing.assert_array_equal(read_image(tmp_path / "image.webp", pixels.shape), np.rot90(pixels, turns))


@pytest.mark.parametrize(
    "sizes",
    [[(60, 90)] * 12, [(60, 90), (120, 80)] * 6, [(2048, 3072)] * 8],
    ids=["one size", "any size", "of a phone, which training reads at half its size"],
)
def test_a_photo_is_shown_as_in_evaluation(sizes, tmp_path):
    random = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes):
        folder = tmp_path / ("test" if number < 4 else "train") / "ab"[number // 2 % 2]
        folder.mkdir(parents=True, exist_ok=True)
        colours = Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8))
        colours.resize((width, height), Image.Resampling.BILINEAR).save(folder / f"{number}.jpg")
    images = data.load(f"folder:{tmp_path}", image_size=28)
    (shown, _), *_ = images.test(4)
    for image, path in zip(np.asarray(shown), sorted((tmp_path / "test").rglob("*.jpg")), strict=True):
        read = read_image(path, images.image_shape, images.crop_pct)
        assert np.abs(image - read).mean() < 1
        assert np.abs(image - read_image(path, images.image_shape, 0.5)).mean() > 5


@pytest.mark.parametrize("shape", [(28, 28, 3), (28, 28, 1)])
def test_a_frame_of_a_camera_is_shown_as_its_file(shape, tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)  # in BGR, as OpenCV's
    Image.fromarray(frame[..., ::-1]).save(tmp_path / "frame.png")
    shown = raw_pixels(Image.fromarray(frame[..., ::-1]), shape, crop_pct=0.875)
    np.testing.assert_array_equal(shown, read_image(tmp_path / "frame.png", shape, crop_pct=0.875))


def test_an_image_of_the_networks_size_is_shown_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "small.png")
    np.testing.assert_array_equal(read_image(tmp_path / "small.png", pixels.shape, crop_pct=0.875), pixels)
