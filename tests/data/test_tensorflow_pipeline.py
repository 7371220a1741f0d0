import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ddnn_keras.data import tensorflow_pipeline
from ddnn_keras.data.crops import size_before_crop
from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.tensorflow_pipeline import TFPipelines


def pipelines(images, labels=None, mirror=False, image_size=None, any_size=False):
    """Pipelines of these images, which are all in the training split and in the others too."""
    split = InMemory(images, range(len(images)) if labels is None else labels)
    shape = (None, None, images.shape[-1]) if any_size else images.shape[1:]
    # A decoder leaves the static shape open, as one of files does.
    decode = (lambda image: tf.ensure_shape(image, shape)) if any_size else None
    return TFPipelines("images", Source(split, split, split, [*"ab"], shape, decode), image_size, mirror)


def arrays(dataset, count=None):
    """The images and the labels of a dataset's first batches."""
    images, labels = zip(*itertools.islice(dataset.as_numpy_iterator(), count))
    return list(images), list(labels)


def numbered(count, size=8):
    """One-colour images whose label is their number."""
    return np.broadcast_to(np.arange(count)[:, None, None, None], (count, size, size, 1)).astype(np.uint8)


def photos(count, height, width):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def gradient(height, width):
    """An image whose channels say, from 0 to 1, how far down and how far right a pixel is."""
    down, right = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([down, right, np.zeros_like(down)], axis=-1).astype(np.float32)


def test_every_epoch_takes_each_image_once_at_most_and_all_are_taken_in_time():
    images = pipelines(numbered(50), mirror=True)
    batches, labels = arrays(images.train(16), 60)
    epochs = np.array(labels).reshape(20, 48)
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(50))
    for image, label in zip(np.concatenate(batches), np.concatenate(labels)):
        assert set(np.unique(image)) <= {0, label}  # zeros are what a shift fills in
        assert image[4, 4] == label


@pytest.mark.parametrize("any_size", [False, True])
def test_training_taken_up_again_sees_the_same(any_size):
    content = photos(20, 16, 16)
    images = pipelines(content, mirror=True, any_size=any_size, image_size=16)
    whole, labels = arrays(images.train(6, seed=3), 12)
    for global_seed, first_epoch in [(1, 0), (2, 1), (None, 3)]:
        if global_seed:
            tf.random.set_seed(global_seed)
        # Another object, as in another process.
        again = pipelines(content, mirror=True, any_size=any_size, image_size=16)
        resumed = arrays(again.train(6, seed=3, first_epoch=first_epoch), 12 - 3 * first_epoch)
        np.testing.assert_array_equal(whole[3 * first_epoch :], resumed[0])
        np.testing.assert_array_equal(labels[3 * first_epoch :], resumed[1])


def test_epochs_and_seeds_differ():
    images = pipelines(numbered(50))
    orders = {
        tuple(arrays(images.train(50, seed=seed, first_epoch=epoch), 1)[1][0])
        for seed in (0, 1, 2**40)
        for epoch in (0, 1)
    }
    assert len(orders) == 6


def test_evaluation_is_complete_and_in_order():
    images = pipelines(numbered(50), mirror=True)
    for _ in range(2):
        batches, labels = arrays(images.test(20))
        assert [len(batch) for batch in batches] == [20, 20, 10] and images.test(20).cardinality() == 3
        assert batches[0].dtype == np.float32 and labels[0].dtype == np.int32
        np.testing.assert_array_equal(np.concatenate(labels), range(50))
        np.testing.assert_array_equal(np.concatenate(batches), numbered(50))


def test_samples_are_drawn_at_random():
    """A folder's images come class by class: the first ones would be of one class."""
    images = pipelines(numbered(50))
    shown, labels = images.test_sample(10)
    np.testing.assert_array_equal(shown[:, 4, 4, 0], labels)
    assert len(set(labels)) == 10 and max(labels) > 15
    calibration = images.calibration_images(10)
    assert len(set(calibration[:, 4, 4, 0])) == 10 and calibration.max() > 15
    np.testing.assert_array_equal(calibration[:5], images.calibration_images(5))


def test_variation_is_a_shift_and_a_mirroring():
    """Each result is one of all possible ones, and each of those comes up."""
    image = np.arange(1, 8 * 16 * 2 + 1, dtype=np.float32).reshape(8, 16, 2)
    padded = np.pad(image, ((1, 1), (2, 2), (0, 0)))
    shifts = [padded[row : row + 8, column : column + 16] for row in range(3) for column in range(5)]
    possible = {shift.tobytes() for shift in shifts}
    for mirror in (False, True):
        (batch,), _ = arrays(pipelines(np.stack([image] * 500), mirror=mirror).train(500), 1)
        assert {result.tobytes() for result in batch} == possible
        possible |= {shift[:, ::-1].tobytes() for shift in shifts}


@pytest.mark.parametrize("size", [8, 48])
def test_images_of_one_size_are_resized_to_what_the_model_sees(size):
    left_and_right = np.zeros((4, 32, 32, 1), np.uint8)
    left_and_right[:, :, 16:] = 255
    images = pipelines(left_and_right, image_size=size)
    (shown,), _ = arrays(images.test(4))
    assert shown.shape == (4, size, size, 1)
    assert shown[0, 0, 0, 0] == 0 and shown[0, 0, -1, 0] == 255
    (varied,), _ = arrays(images.train(4), 1)
    assert varied.shape == (4, size, size, 1) and varied.min() == 0 and varied.max() == 255


def test_images_of_another_aspect_ratio_are_cut_and_not_stretched():
    (shown,), _ = arrays(pipelines(gradient(24, 48)[np.newaxis] * 255, image_size=12).test(1))
    down, right = shown[0, ..., 0] / 255, shown[0, ..., 1] / 255
    np.testing.assert_allclose(np.diff(down[2:-2], axis=0), 1 / 12, atol=1e-3)
    np.testing.assert_allclose(np.diff(right[:, 2:-2], axis=1), 1 / 24, atol=1e-3)
    np.testing.assert_allclose([down.mean(), right.mean()], 0.5, atol=1e-3)


def test_resizing_stays_within_0_and_255():
    white = tf.fill((1, 37, 51, 3), 255.0)
    for size in (16, 32, 50):
        resized = tensorflow_pipeline.resize(white, (size, size)).numpy()
        assert resized.max() == 255 and resized.min() > 254.99


def test_random_crops_have_the_area_and_the_aspect_ratio_that_is_usual():
    images = pipelines(np.stack([gradient(200, 300)] * 200), any_size=True, image_size=32)
    (cropped,), _ = arrays(images.train(200), 1)
    # What lies between first and last pixel's centre is 31/32 of the part that was cropped.
    heights = (cropped[:, -1, :, 0] - cropped[:, 0, :, 0]).mean(-1) * 32 / 31
    widths = (cropped[:, :, -1, 1] - cropped[:, :, 0, 1]).mean(-1) * 32 / 31
    areas, ratios = heights * widths, widths * 300 / (heights * 200)
    assert 0.06 < min(areas) < 0.2 and 0.8 < max(areas) < 1.05
    assert 0.7 < min(ratios) < 0.85 and 1.2 < max(ratios) < 1.43


@pytest.mark.parametrize("mirror", [False, True])
def test_random_crops_differ_and_are_mirrored_where_asked(mirror):
    images = pipelines(np.stack([gradient(20, 30) * 255] * 40), mirror=mirror, any_size=True, image_size=16)
    (batch,), _ = arrays(images.train(40), 1)
    assert len({image.tobytes() for image in batch}) == 40
    mirrored = (batch[:, 8, 0, 1] > batch[:, 8, -1, 1]).sum()
    assert 8 < mirrored < 32 if mirror else mirrored == 0


@pytest.mark.parametrize("size", [16, 96, 224])
def test_evaluation_shows_what_is_around_the_middle(size):
    """To the pixel: as Pillow resizes that box."""
    image = Image.fromarray(photos(1, 30, 45)[0]).resize((450, 300), Image.Resampling.BICUBIC)
    shown = tensorflow_pipeline.resized_centre(tf.constant(np.asarray(image)), (size, size)).numpy()
    side = 300 * size / size_before_crop(size)
    assert side == pytest.approx(300 * 7 / 8, rel=0.02)
    box = (225 - side / 2, 150 - side / 2, 225 + side / 2, 150 + side / 2)
    expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box), "float32")
    assert np.abs(shown - expected).mean() < 0.6


@pytest.mark.parametrize(("height", "width"), [(256, 256), (256, 400), (512, 256), (7, 5), (2, 99_999)])
def test_evaluation_takes_the_centre(height, width):
    shown = tensorflow_pipeline.resized_centre(tf.constant(gradient(height, width)), (224, 224)).numpy()
    assert shown.shape == (224, 224, 3)
    down, right = shown[..., 0], shown[..., 1]
    np.testing.assert_allclose([down.mean(), right.mean()], 0.5, atol=0.01)
    # 224/256 of the shorter side is shown.
    shorter = min(height, width)
    inner = slice(60, 164)
    np.testing.assert_allclose(np.diff(down[inner], axis=0).mean(), shorter / height / 256, rtol=0.1)
    np.testing.assert_allclose(np.diff(right[:, inner], axis=1).mean(), shorter / width / 256, rtol=0.1)
