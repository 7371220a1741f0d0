"""Training and device see the same pixels of every image file, whatever its format and its name."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from ddnn_keras import data
from ddnn_keras.data.sources.folder import decode
from ddnn_keras.runtime.image_file import open_image, read_image

COLOURS = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
GREY = np.array(Image.fromarray(COLOURS).convert("L"))
OPAQUE = np.full((12, 16), 255, np.uint8)
OPAQUE[:, :8] = 0
ALPHA = Image.fromarray(np.dstack([COLOURS, OPAQUE]))
TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
RIGHT = COLOURS * (OPAQUE[..., np.newaxis] > 0)
DEEP = np.random.default_rng(1).integers(0, 2**16, (12, 16, 3), np.uint16)


def palette(pixels):
    return Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)


def transparent_palette():
    """The left half has a colour of its own, which is transparent."""
    indices = np.array(palette(COLOURS))
    indices[:, :8] = 255
    image = Image.fromarray(indices, "P")
    image.putpalette([*palette(COLOURS).getpalette()[:765].copy(), *[0] * 765][:765] + [200, 100, 50])
    return image


def in_rgb(grey):
    return np.dstack([grey] * 3)


# Name and suffix, what is saved with which arguments, and the pixels that are to be seen.
LOSSLESS = [
    ("rgb.png", Image.fromarray(COLOURS), {}, COLOURS),
    ("grey.png", Image.fromarray(GREY), {}, in_rgb(GREY)),
    ("palette.png", palette(COLOURS), {}, COLOURS),
    ("alpha.png", ALPHA, {}, RIGHT),
    ("grey_alpha.png", ALPHA.convert("LA"), {}, in_rgb(GREY * (OPAQUE > 0))),
    ("palette_alpha.png", transparent_palette(), {"transparency": 255}, RIGHT),
    ("bit.png", Image.fromarray(GREY > 127), {}, in_rgb((GREY > 127) * 255)),
    ("16_bits.png", Image.fromarray(DEEP[..., 0]), {}, in_rgb(DEEP[..., 0] >> 8)),
    ("transparent.gif", transparent_palette(), {"transparency": 255}, RIGHT),
    ("animated.gif", palette(COLOURS), {"save_all": True, "append_images": [palette(255 - COLOURS)]}, COLOURS),
    ("rgb.bmp", Image.fromarray(COLOURS), {}, COLOURS),
    ("rgb.webp", Image.fromarray(COLOURS), {"lossless": True}, COLOURS),
    ("alpha.webp", ALPHA, {"lossless": True}, RIGHT),
]
JPEG = [
    ("rgb.jpg", Image.fromarray(COLOURS), {"quality": 100, "subsampling": 0}, COLOURS),
    ("grey.jpg", Image.fromarray(GREY), {"quality": 100}, in_rgb(GREY)),
    ("cmyk.jpg", Image.fromarray(COLOURS).convert("CMYK"), {"quality": 100, "subsampling": 0}, COLOURS),
    ("turned.jpg", Image.fromarray(np.rot90(COLOURS)), {"exif": TURNED, "quality": 100, "subsampling": 0}, COLOURS),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder data set of all formats; each is there twice, once under another format's suffix."""
    root = tmp_path_factory.mktemp("formats")
    folder = root / "test" / "format"
    for part in ("train/format", "train/other", "test/format"):
        (root / part).mkdir(parents=True)
    for number, part in enumerate(["format", "other"] * 2):
        Image.fromarray(COLOURS).save(root / "train" / part / f"{number}.png")
    for name, image, arguments, _ in LOSSLESS + JPEG:
        image.save(folder / name, **arguments)
    (folder / "16_bits_rgb.png").write_bytes(tf.io.encode_png(DEEP).numpy())
    for path in list(folder.iterdir()):
        suffix = ".jpg" if path.suffix == ".png" else ".png"
        (folder / f"{path.name.replace('.', '_')}_named{suffix}").write_bytes(path.read_bytes())
    return root


def test_training_and_device_see_the_same(files):
    images = data.load(f"folder:{files}")
    assert images.image_shape == (12, 16, 3)
    paths = sorted((files / "test" / "format").iterdir())
    assert images.num_test == len(paths) == 2 * (len(LOSSLESS) + len(JPEG) + 1)
    (shown, _), *_ = images.test(len(paths)).as_numpy_iterator()
    # Where images have several sizes, each is decoded when it is wanted.
    streamed = tf.data.Dataset.from_tensor_slices([*map(str, paths)]).map(decode).as_numpy_iterator()
    for image, decoded, path in zip(shown, streamed, paths, strict=True):
        on_device = read_image(path, images.image_shape)
        np.testing.assert_array_equal(image, on_device, err_msg=path.name)
        np.testing.assert_array_equal(decoded, on_device, err_msg=path.name)


def test_they_see_what_is_in_the_file(files):
    deep = ("16_bits_rgb.png", None, {}, DEEP >> 8)
    for tolerance, formats in [(0, [*LOSSLESS, deep]), (4, JPEG)]:
        for name, _, _, expected in formats:
            seen = np.asarray(open_image(files / "test" / "format" / name)).astype(int)
            np.testing.assert_allclose(seen, expected, rtol=0, atol=tolerance, err_msg=name)


def test_both_refuse_what_has_no_8_bits(tmp_path):
    for number, part in enumerate(["a", "b"] * 4):
        (tmp_path / part).mkdir(exist_ok=True)
        Image.fromarray(COLOURS).save(tmp_path / part / f"{number}.png")
    Image.fromarray(np.zeros((12, 16), "float32")).save(tmp_path / "a" / "deep.png", "TIFF")
    sentence = r"^.*deep.png is not an image file that can be read: it must have 8 bits a channel, .* mode F"
    with pytest.raises(ValueError, match=sentence):
        read_image(tmp_path / "a" / "deep.png", (12, 16, 3))
    with pytest.raises(ValueError, match=sentence + r" \(1 such files in all\)\.$"):
        data.load(f"folder:{tmp_path}")
