import numpy as np
from test_folder import numbered_images
from test_tfds import NumberedImages, NumberedImagesOfOneSize

from ddnn_keras import data


def test_every_image_with_its_label(printed, tmp_path):
    output = tmp_path / "numbers.npz"
    flags = ["--dataset", NumberedImagesOfOneSize.name, "--data-dir", tmp_path, "--output", output]
    shown = printed("recipes/save_npz.py", *flags)
    assert f"{output}: 40 training and 8 test images" in shown
    arrays = np.load(output)
    numbers = {split: arrays[f"x_{split}"][:, 0, 0, 0] for split in ("train", "test")}
    assert sorted(numbers["train"]) == list(range(40))
    assert sorted(numbers["test"]) == list(range(40, 48))
    for split, found in numbers.items():
        np.testing.assert_array_equal(arrays[f"y_{split}"], found % 2)
    loaded = data.load(f"npz:{output}")
    assert (loaded.class_names, loaded.image_shape, loaded.num_test) == (["even", "odd"], (12, 10, 1), 8)
    assert loaded.mirror is True  # as under its own name


def test_a_folder_of_images(printed, tmp_path):
    numbered_images(tmp_path / "my photos", 20)
    shown = printed("recipes/save_npz.py", "--dataset", f"folder:{tmp_path}/my photos", "--output", tmp_path / "my.npz")
    assert "my.npz: 16 training and 4 test images" in shown
    assert data.load(f"npz:{tmp_path}/my.npz").class_names == ["cat", "dog"]


def test_mistakes(mistake, tmp_path):
    unknown = mistake("recipes/save_npz.py", "--dataset", "fashion_minst", "--output", tmp_path / "numbers.npz")
    assert "--dataset 'fashion_minst' is not a known data set. Did you mean 'fashion_mnist'" in unknown
    flags = ["--dataset", NumberedImages.name, "--data-dir", tmp_path]
    assert "its images differ in size" in mistake("recipes/save_npz.py", *flags, "--output", tmp_path / "numbers.npz")
    assert "must end in .npz" in mistake("recipes/save_npz.py", *flags, "--output", tmp_path / "numbers")
    assert not (tmp_path / "numbers.npz").exists()
