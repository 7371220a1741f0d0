import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ddnn_keras.data import augmentation
from ddnn_keras.data.crops import size_before_crop


def examples(images):
    return tf.data.Dataset.from_tensor_slices((images, np.arange(len(images))))


def photo(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def offset(cropped, image, pad_y, pad_x):
    """Where in the padded image the crop is found."""
    padded = np.pad(image, ((pad_y, pad_y), (pad_x, pad_x), (0, 0)))
    height, width, _ = image.shape
    for y in range(2 * pad_y + 1):
        for x in range(2 * pad_x + 1):
            if np.array_equal(padded[y : y + height, x : x + width], cropped):
                return y, x
    raise AssertionError("not a window of the padded image")


def test_a_shift_is_a_window_of_the_padded_image():
    images = np.stack([photo(32, 16, seed) for seed in range(300)])
    shifted = augmentation.random_shift(images, seed=(0, 1)).numpy()
    offsets = [offset(*pair, pad_y=4, pad_x=2) for pair in zip(shifted, images)]
    # Every shift occurs: 9 rows times 5 columns.
    assert len(set(offsets)) == 45


def test_pad_and_crop_varies_each_image_of_a_batch_and_each_batch():
    image = photo(32, 32)
    vary = augmentation.PadAndCrop((32, 32), (32, 32), mirror=True)
    batches = vary.train(examples(np.stack([image] * 64)), 32, seed=(0, 1), start=0)
    first, second = [images for images, _ in batches.as_numpy_iterator()]
    mirrored = [np.array_equal(undone(cropped, image), image[:, ::-1]) for cropped in first]
    assert 5 < sum(mirrored) < 27
    assert not np.array_equal(first, second)
    assert len({cropped.tobytes() for cropped in first}) > 16


def undone(cropped, image):
    """The image, or the mirrored image, of which `cropped` is a shift."""
    for candidate in (image, image[:, ::-1]):
        try:
            offset(cropped, candidate, 4, 4)
            return candidate
        except AssertionError:
            continue
    raise AssertionError("neither a window of the image nor of the mirrored image")


def test_pad_and_crop_goes_on_where_it_stopped():
    vary = augmentation.PadAndCrop((32, 32), (32, 32), mirror=True)
    images = np.stack([photo(32, 32, seed) for seed in range(40)])
    whole = [batch for batch, _ in vary.train(examples(images), 10, (0, 1), start=0).as_numpy_iterator()]
    rest = [batch for batch, _ in vary.train(examples(images[20:]), 10, (0, 1), start=20).as_numpy_iterator()]
    np.testing.assert_array_equal(whole[2:], rest)


def test_pad_and_crop_shows_images_as_they_are_in_evaluation():
    images = np.stack([photo(32, 32, seed) for seed in range(5)])
    batches = augmentation.PadAndCrop((32, 32), (32, 32), mirror=True).evaluate(examples(images), 3)
    shown = np.concatenate([batch for batch, _ in batches.as_numpy_iterator()])
    assert shown.dtype == np.float32
    np.testing.assert_array_equal(shown, images)


@pytest.mark.parametrize("size", [(8, 8), (48, 24)])
def test_images_of_one_size_are_resized_to_what_the_model_sees(size):
    left_and_right = np.zeros((4, 32, 32, 1), np.uint8)
    left_and_right[:, :, 16:] = 255
    vary = augmentation.PadAndCrop(size, (32, 32), mirror=False)
    (shown, _), *_ = vary.evaluate(examples(left_and_right), 4).as_numpy_iterator()
    assert shown.shape == (4, *size, 1)
    assert shown[0, 0, 0, 0] == 0 and shown[0, 0, -1, 0] == 255
    (varied, _), *_ = vary.train(examples(left_and_right), 4, (0, 1), 0).as_numpy_iterator()
    assert varied.shape == (4, *size, 1) and varied.min() == 0 and varied.max() == 255


def test_images_of_another_aspect_ratio_are_cut_and_not_stretched():
    wide = (gradient(24, 48) * 255)[np.newaxis]
    vary = augmentation.PadAndCrop((12, 12), (24, 48), mirror=False)
    (shown, _), *_ = vary.evaluate(examples(wide), 1).as_numpy_iterator()
    down, right = shown[0, ..., 0] / 255, shown[0, ..., 1] / 255
    np.testing.assert_allclose(np.diff(down[2:-2], axis=0), 1 / 12, atol=1e-3)
    np.testing.assert_allclose(np.diff(right[:, 2:-2], axis=1), 1 / 24, atol=1e-3)
    np.testing.assert_allclose([down.mean(), right.mean()], 0.5, atol=1e-3)


def test_resizing_stays_within_0_and_255():
    white = tf.fill((1, 37, 51, 3), 255.0)
    for size in (16, 32, 50):
        assert float(tf.reduce_max(augmentation.resize(white, (size, size)))) == 255
        assert float(tf.reduce_min(augmentation.resize(white, (size, size)))) > 254.99


def gradient(height, width):
    """An image whose channels say, from 0 to 1, how far down and how far right a pixel is."""
    down, right = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([down, right, np.zeros_like(down)], axis=-1).astype(np.float32)


def test_random_crops_have_the_area_and_the_aspect_ratio_that_is_usual():
    image = tf.constant(gradient(200, 300))
    crop = tf.function(augmentation.random_resized_crop)
    areas, ratios = [], []
    for number in range(200):
        cropped = crop(image, (32, 32), tf.constant([0, number])).numpy()
        # What lies between first and last pixel's centre is 31/32 of the part that was cropped.
        height = (cropped[-1, :, 0] - cropped[0, :, 0]).mean() * 32 / 31
        width = (cropped[:, -1, 1] - cropped[:, 0, 1]).mean() * 32 / 31
        areas.append(height * width)
        ratios.append(width * 300 / (height * 200))
    assert 0.06 < min(areas) < 0.2 and 0.8 < max(areas) < 1.05
    assert 0.7 < min(ratios) < 0.85 and 1.2 < max(ratios) < 1.43


def test_random_resized_crop_varies_each_image_and_goes_on_where_it_stopped():
    vary = augmentation.RandomResizedCrop((16, 16), mirror=True)
    images = np.stack([gradient(20, 30) * 255] * 40)
    whole = [batch for batch, _ in vary.train(examples(images), 10, (0, 1), start=0).as_numpy_iterator()]
    rest = [batch for batch, _ in vary.train(examples(images[20:]), 10, (0, 1), start=20).as_numpy_iterator()]
    np.testing.assert_array_equal(whole[2:], rest)
    assert len({image.tobytes() for image in np.concatenate(whole)}) == 40
    mirrored = np.concatenate(whole)[:, 8, 0, 1] > np.concatenate(whole)[:, 8, -1, 1]
    assert 8 < mirrored.sum() < 32
    unmirrored = augmentation.RandomResizedCrop((16, 16), mirror=False).train(examples(images), 40, (0, 1), 0)
    (images, _), *_ = unmirrored.as_numpy_iterator()
    assert (images[:, 8, 0, 1] < images[:, 8, -1, 1]).all()


@pytest.mark.parametrize("size", [16, 32, 64, 96, 160, 224])
def test_evaluation_shows_what_is_around_the_middle(size):
    """To the pixel: as Pillow resizes that box."""
    random = np.random.default_rng(0)
    image = Image.fromarray(random.integers(0, 256, (30, 45, 3), np.uint8)).resize((450, 300), Image.Resampling.BICUBIC)
    shown = augmentation.resized_centre(tf.constant(np.asarray(image)), (size, size)).numpy()
    side = 300 * size / size_before_crop(size)
    assert side == pytest.approx(300 * 7 / 8, rel=0.02)
    box = (225 - side / 2, 150 - side / 2, 225 + side / 2, 150 + side / 2)
    expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box), "float32")
    assert np.abs(shown - expected).mean() < 0.6


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 400), (512, 256), (90, 60), (7, 5), (2, 99_999)])
def test_evaluation_takes_the_centre(height, width):
    shown = augmentation.resized_centre(tf.constant(gradient(height, width)), (224, 224)).numpy()
    assert shown.shape == (224, 224, 3)
    down, right = shown[..., 0], shown[..., 1]
    np.testing.assert_allclose([down.mean(), right.mean()], 0.5, atol=0.01)
    # 224/256 of the shorter side is shown.
    shorter = min(height, width)
    inner = slice(60, 164)
    np.testing.assert_allclose(np.diff(down[inner], axis=0).mean(), shorter / height / 256, rtol=0.1)
    np.testing.assert_allclose(np.diff(right[:, inner], axis=1).mean(), shorter / width / 256, rtol=0.1)
