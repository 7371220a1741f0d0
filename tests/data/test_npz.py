import numpy as np
import pytest

from ddnn_keras import data


def arrays(**changes):
    """A valid data set of 30 + 6 colour images, with other arrays where `changes` has them; None leaves one out."""
    random = np.random.default_rng(0)
    valid = {
        "x_train": random.integers(0, 256, (30, 8, 10, 3), np.uint8),
        "y_train": np.arange(30) % 3,
        "x_test": random.integers(0, 256, (6, 8, 10, 3), np.uint8),
        "y_test": np.arange(6, dtype=np.uint8) % 3,
    }
    return {name: array for name, array in (valid | changes).items() if array is not None}


def load(tmp_path, content=None, **options):
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, **(content or arrays()))
    return data.load(f"npz:{path}", **options)


def test_arrays_become_a_data_set(tmp_path):
    content = arrays()
    images = load(tmp_path, content)
    assert images.image_shape == (8, 10, 3)
    assert images.class_names == ["0", "1", "2"]
    assert (images.num_train, images.num_validation, images.num_test) == (27, 3, 6)
    assert images.mirror is False and load(tmp_path, mirror=True).mirror is True
    (x_test, y_test), *rest = images.test(6).as_numpy_iterator()
    np.testing.assert_array_equal(x_test, content["x_test"])
    np.testing.assert_array_equal(y_test, content["y_test"])
    assert not rest
    # Training and validation part the training images.
    (validation, labels), *_ = images.validation(3).as_numpy_iterator()
    numbers = {image.tobytes(): number for number, image in enumerate(content["x_train"].astype(np.float32))}
    held_out = [numbers[image.tobytes()] for image in validation]
    np.testing.assert_array_equal(labels, content["y_train"][held_out])
    kept = [numbers[image.tobytes()] for image in images.calibration_images(27)]
    assert sorted(held_out + kept) == list(range(30))


def test_grey_floats_and_class_names(tmp_path):
    content = arrays(
        x_train=np.random.default_rng(1).uniform(0, 255, (30, 8, 8)),
        x_test=np.random.default_rng(2).uniform(0, 255, (6, 8, 8)),
        class_names=np.array(["cat", "dog", "eel", "fly"]),
    )
    images = load(tmp_path, content, image_size=16)
    assert images.image_shape == (16, 16, 1)
    assert images.class_names == ["cat", "dog", "eel", "fly"] and images.num_classes == 4
    assert next(images.test(6).as_numpy_iterator())[0].shape == (6, 16, 16, 1)


def test_names_in_bytes_and_a_flag(tmp_path):
    names = np.array([name.encode() for name in ("Käse", "dog", "eel")])
    images = load(tmp_path, arrays(class_names=names, mirror=np.array(1)))
    assert images.class_names == ["Käse", "dog", "eel"]
    assert images.mirror is True


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"x_test": None, "y_train": None}, r"must hold the arrays x_train, .* Missing: y_train, x_test"),
        ({"x_train": np.ones((30, 8))}, r"x_train .* numbers of shape .* Received: float64 of shape \(30, 8\)"),
        ({"x_train": np.full((30, 3, 8, 10), 7.0)}, r"x_train .* channels last: .* Received: \(30, 3, 8, 10\)"),
        ({"x_test": np.full((6, 9, 10, 3), 7.0)}, r"one shape. Received: \(8, 10, 3\) and \(9, 10, 3\)"),
        ({"x_train": np.full((30, 8, 10, 3), 0.5)}, r"x_train .* pixels from 0 to 255. .* 0.5 to 0.5"),
        ({"y_train": np.zeros(29, int)}, r"y_train .* 30 integers, .* Received: int64 of shape \(29,\)"),
        ({"y_test": np.zeros(6)}, r"y_test .* 6 integers, .* Received: float64 of shape \(6,\)"),
        ({"y_test": np.full(6, 3)}, r"y_test .* from 0 to 2\. .* from 3 to 3"),
        ({"y_train": np.arange(30) % 2 * (2**31 - 2)}, r"y_train .* every label from 0 to 1, .* Received: 2147483646"),
        ({"y_train": np.array([{}] * 30)}, r"not a readable .npz file of plain arrays: .*pickle.*"),
    ],
)
def test_wrong_arrays(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=r"^[^\n]*arrays\.npz[^\n]*$") as raised:
        load(tmp_path, arrays(**changes))
    raised.match(sentence)


def test_a_damaged_file(tmp_path):
    load(tmp_path)
    path = tmp_path / "arrays.npz"
    content = path.read_bytes()
    flipped = content[:1000] + bytes([content[1000] ^ 255]) + content[1001:]
    for damaged in (b"", content[: len(content) // 2], flipped):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^[^\n]*arrays.npz is not a readable .npz file[^\n]*$"):
            data.load(f"npz:{path}")
