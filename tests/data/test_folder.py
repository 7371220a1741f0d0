import itertools
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from ddnn_keras import data

SUFFIXES = (".png", ".JPEG", ".webp")


def numbered_images(root, count, start=0, classes=("cat", "dog"), size=(16, 12)):
    """Images whose grey value is their number, by turns of each class."""
    for number, name, suffix in zip(range(start, start + count), itertools.cycle(classes), itertools.cycle(SUFFIXES)):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number,) * 3).save(root / name / f"{number}{suffix}", quality=100, lossless=True)


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


def test_one_image_of_another_size_makes_a_folder_of_any_size(tmp_path):
    numbered_images(tmp_path / "train", 10, size=(16, 16))
    numbered_images(tmp_path / "test", 3, start=10, size=(16, 16))
    assert data.load(f"folder:{tmp_path}").image_shape == (16, 16, 3)
    numbered_images(tmp_path / "test", 1, start=13, size=(17, 16))
    assert data.load(f"folder:{tmp_path}").image_shape == (224, 224, 3)


def test_photos_of_a_camera_are_not_shown_at_their_own_size(tmp_path):
    numbered_images(tmp_path, 8, size=(640, 480))
    assert data.load(f"folder:{tmp_path}").image_shape == (224, 224, 3)


def test_photos_that_do_not_fit_into_memory_are_resized_before_they_are_batched(tmp_path, monkeypatch):
    numbered_images(tmp_path, 20, size=(64, 48))
    expected = next(iter(data.load(f"folder:{tmp_path}", image_size=8).test(4)))
    monkeypatch.setattr("ddnn_keras.data.sources.in_memory.IN_MEMORY_BYTES", 0)
    images = data.load(f"folder:{tmp_path}", image_size=8)
    for found, wanted in zip(next(iter(images.test(4))), expected):
        np.testing.assert_allclose(found, wanted)
    pixels, _ = images._decoded(images._source.test.ordered()).element_spec
    assert pixels.shape == (8, 8, 3)


def test_a_folder_that_moved_is_the_same_and_one_with_another_name_in_it_is_not(tmp_path):
    numbered_images(tmp_path / "here", 20)
    before = data.load(f"folder:{tmp_path / 'here'}").checksum
    folder = (tmp_path / "here").rename(tmp_path / "there")
    assert data.load(f"folder:{folder}").checksum == before
    (folder / "cat" / "0.png").rename(folder / "cat" / "9.png")
    assert data.load(f"folder:{folder}").checksum != before


def test_names_of_another_system(tmp_path):
    # Of several sizes, so that files are read when they are wanted.
    for first, size in ((0, (16, 12)), (10, (12, 16))):
        numbered_images(tmp_path, 10, start=first, size=size)
    name = os.fsencode(tmp_path / "dog" / "1.JPEG")
    os.rename(name, name.replace(b"1.JPEG", b"K\xf6ter.JPEG"))
    images = data.load(f"folder:{tmp_path}", image_size=8)
    parts = (images.train(images.num_train).take(1), images.validation(2), images.test(2))
    assert 1 in [number for part in parts for number in numbers(part)]


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
    shutil.rmtree(tmp_path / "test")
    images = data.load(f"folder:{tmp_path}", image_size=8)
    assert (images.num_train, images.num_validation, images.num_test) == (8, 6, 2)


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
    for name in ("a.tif", "b.HEIC", ".c.tif"):
        Image.new("RGB", (16, 12)).save(tmp_path / "dog" / name, "TIFF")
    with pytest.warns(UserWarning, match=r"^2 images in .* are passed over, such as .*a\.tif: \.bmp, .* count\. Conv"):
        images = data.load(f"folder:{tmp_path}", image_size=8)
    assert images.num_train + images.num_validation + images.num_test == 20


def test_a_class_that_is_too_small_to_be_tested_is_told(tmp_path):
    numbered_images(tmp_path, 20)
    numbered_images(tmp_path, 2, start=20, classes=("eel",))
    with pytest.warns(UserWarning, match=r"^eel has 2 images\. It needs 3 to be validated and tested\.$"):
        data.load(f"folder:{tmp_path}", image_size=8)


def test_every_class_is_held_out(tmp_path):
    numbered_images(tmp_path, 40, classes=("cat",))
    numbered_images(tmp_path, 4, start=40, classes=("dog",))
    for seed in range(2):
        images = data.load(f"folder:{tmp_path}", image_size=8, seed=seed)
        assert (images.num_train, images.num_validation, images.num_test) == (31, 4, 9)
        for split in (images.validation(9), images.test(9)):
            assert sum(number >= 40 for number in numbers(split)) == 1


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        (["cat"], r"must have a folder for each of at least 2 classes. Found: cat"),
        (["cat", "dog"], r"There are no images in the class folders of .*: \.bmp, \.gif, .* count"),
        (["train/cat", "train/dog"], r"the folder train with test or .*, or none of them. Found: train \(a class .*\)"),
        (["test_set/test_set/cat", "training_set/training_set/cat"], r"parts train, .* Found: test_set, training_set"),
        (["cat", os.fsdecode(b"K\xf6ter")], r"folders with names in UTF-8. Found: 'K\\udcf6ter'"),
        (["train/cat", "train/dog", "test/cat", "val/cat"], r"name its parts train, validation, test. Found: val"),
        (["Training/cat", "Training/dog", "Test/cat"], r"name its parts train, .* Found: Test, Training"),
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


def test_photos_of_two_sizes_that_are_read_at_one(tmp_path):
    for number, size in enumerate([(4000, 3000), (2000, 1500)] * 3):
        (tmp_path / "ab"[number // 2 % 2]).mkdir(exist_ok=True)
        Image.new("RGB", size).save(tmp_path / "ab"[number // 2 % 2] / f"{number}.jpg")
    images = data.load(f"folder:{tmp_path}")
    assert images.crop_pct == 0.875
    assert {tuple(image.shape) for image, _ in images._decoded(images._source.train.ordered())} == {(1500, 2000, 3)}


def test_classes_may_be_called_like_parts(tmp_path):
    numbered_images(tmp_path, 9, classes=("Testing", "bullet_train", "dog"))
    assert data.load(f"folder:{tmp_path}").class_names == ["Testing", "bullet_train", "dog"]


def test_a_class_without_images_is_named(tmp_path):
    numbered_images(tmp_path, 9)
    (tmp_path / "eel").mkdir()
    (tmp_path / "eel" / "0.tif").write_bytes(b"of a format that is passed over")
    with (
        pytest.warns(UserWarning, match="0.tif"),
        pytest.raises(ValueError, match=r"^There are no images in the folder of class eel in .*: \.bmp, .* count\.$"),
    ):
        data.load(f"folder:{tmp_path}")


def test_an_unreadable_image_is_named(tmp_path):
    numbered_images(tmp_path, 20)
    path = tmp_path / "dog" / "7.JPEG"
    path.write_bytes(path.read_bytes()[:100])
    sentence = r"^[^\n]*7.JPEG is not an image file that can be read: .* \(1 such files in all\)\.$"
    with pytest.raises(ValueError, match=sentence):
        data.load(f"folder:{tmp_path}")
