import itertools
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from ddnn_keras import data

ENCODERS = {
    ".png": tf.io.encode_png,
    ".JPEG": lambda image: tf.io.encode_jpeg(image, quality=100),
    ".jpg": lambda image: tf.io.encode_jpeg(image, quality=100),
}


def write(path, value, height=12, width=16):
    """An image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), value, np.uint8)
    path.write_bytes(ENCODERS[path.suffix](image).numpy())


def numbered_images(root, count, start=0, classes=("cat", "dog"), **size):
    """Images whose grey value is their number, by turns of each class."""
    for number, name, suffix in zip(range(start, start + count), itertools.cycle(classes), itertools.cycle(ENCODERS)):
        write(root / name / f"{number}{suffix}", number, **size)


def numbers(dataset):
    """The grey values of a dataset's images, beside which a shift fills in zeros."""
    return [round(float(image.max())) for images, _ in dataset.as_numpy_iterator() for image in images]


def test_a_folder_is_parted(tmp_path):
    numbered_images(tmp_path, 40)
    images = data.load(f"folder:{tmp_path}", image_size=8, validation_fraction=0.25)
    assert images.class_names == ["cat", "dog"]
    assert images.image_shape == (8, 8, 3)
    assert (images.num_train, images.num_validation, images.num_test) == (24, 8, 8)
    assert images.mirror is False and data.load(f"folder:{tmp_path}", mirror=True).mirror is True
    parts = numbers(images.train(24).take(1)) + numbers(images.validation(8)) + numbers(images.test(5))
    assert sorted(parts) == list(range(40))
    for shown, labels in images.test(8).as_numpy_iterator():
        np.testing.assert_array_equal(labels, np.round(shown.mean((1, 2, 3))) % 2)
    assert set(numbers(images.train(24).take(1))) == {round(float(i.max())) for i in images.calibration_images(24)}


def test_test_images_do_not_depend_on_the_seed(tmp_path):
    numbered_images(tmp_path, 40)
    first, second = (data.load(f"folder:{tmp_path}", image_size=8, seed=seed) for seed in (0, 1))
    assert numbers(first.test(8)) == numbers(second.test(8))
    assert numbers(first.validation(8)) != numbers(second.validation(8))


def test_images_of_any_size_are_cropped_at_random(tmp_path):
    numbered_images(tmp_path, 10, height=30, width=20)
    numbered_images(tmp_path, 10, start=10, height=9, width=50)
    images = data.load(f"folder:{tmp_path}")
    assert images.image_shape == (224, 224, 3)
    batch, _ = next(images.train(4).as_numpy_iterator())
    assert batch.shape == (4, 224, 224, 3) and batch.dtype == np.float32
    np.testing.assert_allclose(batch, np.broadcast_to(batch[:, :1, :1], batch.shape), atol=0.01)  # nothing filled in


def test_images_of_one_size_keep_it_and_are_shifted(tmp_path):
    numbered_images(tmp_path, 40, start=1, height=32, width=32)
    images = data.load(f"folder:{tmp_path}")
    assert images.image_shape == (32, 32, 3)
    batch, _ = next(images.train(28).as_numpy_iterator())
    assert 0 < (batch == 0).mean() < 0.3  # zeros are what a shift fills in
    tested = np.concatenate([shown for shown, _ in images.test(8).as_numpy_iterator()])
    np.testing.assert_array_equal(tested.min((1, 2)), tested.max((1, 2)))  # nothing filled in


def test_images_of_one_size_in_another_size(tmp_path):
    numbered_images(tmp_path, 40, start=1, height=12, width=16)
    assert data.load(f"folder:{tmp_path}").image_shape == (12, 16, 3)
    images = data.load(f"folder:{tmp_path}", image_size=24, validation_fraction=0.125)
    batch, _ = next(images.train(28).as_numpy_iterator())
    assert batch.shape == (28, 24, 24, 3)
    assert 0 < (batch == 0).mean() < 0.3
    assert sorted(numbers(images.train(28).take(1)) + numbers(images.validation(4)) + numbers(images.test(8))) == list(
        range(1, 41)
    )


def test_one_image_of_another_size_makes_a_folder_of_any_size(tmp_path):
    numbered_images(tmp_path / "train", 10, height=16, width=16)
    numbered_images(tmp_path / "test", 3, start=10, height=16, width=16)
    assert data.load(f"folder:{tmp_path}").image_shape == (16, 16, 3)
    numbered_images(tmp_path / "test", 1, start=13, height=16, width=17)
    assert data.load(f"folder:{tmp_path}").image_shape == (224, 224, 3)


def test_folders_for_the_parts(tmp_path):
    numbered_images(tmp_path / "train", 10)
    numbered_images(tmp_path / "test", 4, start=10)
    images = data.load(f"folder:{tmp_path}", image_size=8, validation_fraction=0.2)
    assert (images.num_train, images.num_validation, images.num_test) == (8, 2, 4)
    assert sorted(numbers(images.test(4))) == [10, 11, 12, 13]
    numbered_images(tmp_path / "validation", 6, start=20)
    images = data.load(f"folder:{tmp_path}", image_size=8)
    assert (images.num_train, images.num_validation, images.num_test) == (10, 6, 4)
    assert sorted(numbers(images.validation(4))) == list(range(20, 26))


def test_hidden_files_and_other_files_are_passed_over(tmp_path):
    numbered_images(tmp_path, 20)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / "._0.png").write_bytes(b"not an image")
    (tmp_path / "cat" / "notes.txt").write_bytes(b"not an image")
    numbered_images(tmp_path / "cat", 1, classes=(".thumbnails",))
    (tmp_path / "cat" / "folder.png").mkdir()
    images = data.load(f"folder:{tmp_path}", image_size=8)
    assert images.class_names == ["cat", "dog"]
    assert images.num_train + images.num_validation + images.num_test == 20


def test_images_in_other_formats_are_passed_over_with_a_warning(tmp_path):
    numbered_images(tmp_path, 20)
    (tmp_path / "cat" / "notes.txt").write_bytes(b"not an image")
    for name in ("a.webp", "b.WEBP", ".c.webp"):
        Image.new("RGB", (16, 12)).save(tmp_path / "dog" / name, "WEBP")
    with pytest.warns(UserWarning, match=r"^2 images in .* are passed over, such as .*a\.webp: \.bmp, .* count\.$"):
        images = data.load(f"folder:{tmp_path}", image_size=8)
    assert images.num_train + images.num_validation + images.num_test == 20


def test_photos_are_turned_upright(tmp_path):
    random = np.random.default_rng(0)
    for number in range(1, 10):  # the last one is none of EXIF's
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = number
        colours = Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8))
        (tmp_path / "test" / "cat").mkdir(parents=True, exist_ok=True)
        colours.resize((90, 60)).save(tmp_path / "test" / "cat" / f"{number}.png", exif=exif)
    numbered_images(tmp_path / "train", 10, height=60, width=90)
    images = data.load(f"folder:{tmp_path}")
    # Some are turned by a quarter, so that not all have one size.
    assert images.image_shape == (224, 224, 3) and images.crop_pct == 224 / 256
    batches = data.load(f"folder:{tmp_path}", image_size=28).test(9)  # 28 of 32 pixels are shown
    (shown, _), *_ = batches.as_numpy_iterator()
    for image, path in zip(shown, sorted((tmp_path / "test" / "cat").iterdir()), strict=True):
        upright = ImageOps.exif_transpose(Image.open(path))
        expected = ImageOps.fit(upright, (28, 28), Image.Resampling.BILINEAR, bleed=1 / 16)
        assert np.abs(image - np.asarray(expected)).mean() < 2


def test_a_size_that_all_have_once_they_are_upright(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    numbered_images(tmp_path, 9, height=6, width=9)
    Image.fromarray(np.full((9, 6, 3), 100, np.uint8)).save(tmp_path / "dog" / "turned.png", exif=exif)
    assert data.load(f"folder:{tmp_path}").image_shape == (6, 9, 3)


def test_there_is_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^There is no folder .*nowhere\.$"):
        data.load(f"folder:{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        ([], r"must have a folder for each of at least 2 classes. Found: 0"),
        (["cat"], r"must have a folder for each of at least 2 classes. Found: 1"),
        (["cat", "dog"], r"There are no images in the class folders of .*: \.bmp, \.gif, .* count"),
        (["train/cat", "train/dog"], r"both of the folders train and test, or neither. Found: train"),
        (["train/cat", "validation/cat"], r"both of the folders train and test, .* Found: train, validation"),
        (["train/cat", "train/dog", "test/cat", "val/cat"], r"name its parts train, validation, test. Found: val"),
        (["train/cat", "train/dog", "test/cat", "Val/cat"], r"name its parts train, validation, test. Found: Val"),
        (["Train/cat", "Train/dog", "Test/cat", "Test/dog"], r"name its parts train, .* Found: Test, Train"),
        (["training/cat", "training/dog", "testing/cat"], r"name its parts train, .* Found: testing, training"),
        (["train/cat", "test/cat"], r"train must have a folder for each of at least 2 classes. Found: 1"),
    ],
)
def test_wrong_folders(folders, sentence, tmp_path):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=rf"^[^\n]*{sentence}\.?$"):
        data.load(f"folder:{tmp_path}")


def test_a_class_that_is_only_tested(tmp_path):
    numbered_images(tmp_path / "train", 4)
    numbered_images(tmp_path / "test", 3, classes=("cat", "dog", "eel"))
    with pytest.raises(ValueError, match=r"^.*test has classes that the training images lack: eel$"):
        data.load(f"folder:{tmp_path}")


def test_classes_may_be_called_like_parts(tmp_path):
    numbered_images(tmp_path, 9, classes=("Testing", "dog"))
    assert data.load(f"folder:{tmp_path}").class_names == ["Testing", "dog"]


def test_a_file_whose_name_nobody_can_read_is_named(tmp_path):
    numbered_images(tmp_path, 9)
    (path,) = (tmp_path / "dog").glob("7.*")
    path.rename(os.fsdecode(os.fsencode(tmp_path / "dog") + b"/\xff.png"))
    with pytest.raises(ValueError, match=r"^.* must have file names in UTF-8. Received: '.*\\udcff.png'$"):
        data.load(f"folder:{tmp_path}")


def test_a_class_without_images_is_named(tmp_path):
    numbered_images(tmp_path, 9)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "0.webp").write_bytes(b"of a format that TensorFlow does not read")
    with (
        pytest.warns(UserWarning, match="0.webp"),
        pytest.raises(ValueError, match=r"^There are no images in the folder of class eel in .*: \.bmp, .* count\.$"),
    ):
        data.load(f"folder:{tmp_path}")


def test_bitmaps_with_a_palette_are_refused_and_others_are_read(tmp_path):
    """TensorFlow takes the indices of a palette for grey values."""
    numbered_images(tmp_path, 9)
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8))
    for mode in ("RGB", "L"):
        colours.convert(mode).save(tmp_path / "dog" / f"{mode}.bmp")
    assert data.load(f"folder:{tmp_path}").image_shape == (12, 16, 3)
    colours.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "dog" / "few.bmp")
    with pytest.raises(ValueError, match=r"^.*few.bmp is a BMP file with a palette: .* \(1 such files in all\)\.$"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("damage", [lambda content: content[:100], lambda content: b"", lambda content: b"text" * 50])
def test_an_unreadable_image_is_named(damage, tmp_path):
    numbered_images(tmp_path, 20)
    path = tmp_path / "dog" / "7.JPEG"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"^[^\n]*7.JPEG is not a readable image \(1 such files in all\)\.$"):
        data.load(f"folder:{tmp_path}")
