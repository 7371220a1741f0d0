"""Both kinds of pipelines: the same promises on tf.data and on arrays of Keras' own backend."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ddnn_keras.data import tensorflow_pipeline
from ddnn_keras.data.array_pipeline import BackendPipelines
from ddnn_keras.data.crops import size_before_crop
from ddnn_keras.data.sources.in_memory import InMemory
from ddnn_keras.data.sources.source import Source
from ddnn_keras.data.tensorflow_pipeline import TFPipelines


def both(images, **options):
    """Pipelines of both kinds for images that are all in the training split, and in the other splits too."""
    split = InMemory(images, range(len(images)))
    return [
        kind("images", Source(split, split, split, [*"ab"], images.shape[1:]), **options)
        for kind in (TFPipelines, BackendPipelines)
    ]


def of_any_size(images, mirror=False, image_size=None):
    """Pipelines for images that could have had any size."""
    split = InMemory(images, range(len(images)))
    shape = (None, None, images.shape[-1])
    # It hides the images' size, as a decoder of files does.
    source = Source(split, split, split, [*"ab"], shape, lambda image: tf.ensure_shape(image, shape))
    return TFPipelines("images", source, image_size, mirror)


def arrays(batches, count):
    images, labels = zip(*(batch for batch, _ in zip(batches, range(count))))
    return [np.asarray(batch) for batch in images], [np.asarray(batch) for batch in labels]


def numbered(count, size=8):
    """One-colour images whose label is their number."""
    return np.broadcast_to(np.arange(count)[:, None, None, None], (count, size, size, 1)).astype(np.uint8)


def photos(count, height, width):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def gradient(height, width):
    """An image whose channels say, from 0 to 1, how far down and how far right a pixel is."""
    down, right = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
    return np.stack([down, right, np.zeros_like(down)], axis=-1).astype(np.float32)


BOTH = pytest.mark.parametrize("kind", [0, 1], ids=["tensorflow", "arrays"])


@BOTH
def test_every_epoch_takes_each_image_once_at_most_and_all_are_taken_in_time(kind):
    images = both(numbered(50), mirror=True)[kind]
    batches, labels = arrays(images.train(16), 60)
    assert batches[0].shape == (16, 8, 8, 1) and batches[0].dtype == np.float32 and labels[0].dtype == np.int32
    epochs = np.array(labels).reshape(20, 48)
    assert all(len(set(epoch)) == 48 for epoch in epochs)
    assert set(epochs.ravel()) == set(range(50))
    for image, label in zip(np.concatenate(batches), np.concatenate(labels)):
        assert set(np.unique(image)) <= {0, label}  # zeros are what a shift fills in
        assert image[4, 4] == label


@pytest.mark.parametrize("kind", [0, 1, 2], ids=["tensorflow", "arrays", "any size"])
def test_training_taken_up_again_sees_the_same(kind):
    content = photos(20, 16, 16)

    def images():
        return [*both(content, mirror=True), of_any_size(content, mirror=True, image_size=16)][kind]

    whole, labels = arrays(images().train(6, seed=3), 12)
    for global_seed, first_epoch in [(1, 0), (2, 1), (None, 3)]:
        if global_seed:
            tf.random.set_seed(global_seed)
        # Another object, as in another process.
        resumed = arrays(images().train(6, seed=3, first_epoch=first_epoch), 12 - 3 * first_epoch)
        np.testing.assert_array_equal(whole[3 * first_epoch :], resumed[0])
        np.testing.assert_array_equal(labels[3 * first_epoch :], resumed[1])


@BOTH
def test_epochs_and_seeds_differ(kind):
    images = both(numbered(50))[kind]
    orders = {
        tuple(arrays(images.train(50, seed=seed, first_epoch=epoch), 1)[1][0])
        for seed in (0, 1, 2**40)
        for epoch in (0, 1)
    }
    assert len(orders) == 6


@BOTH
def test_evaluation_is_complete_and_in_order(kind):
    images = both(numbered(50), mirror=True)[kind]
    for _ in range(2):
        assert len(images.test(20)) == 3
        batches, labels = arrays((images.test(20)[index] for index in range(3)) if kind else images.test(20), 3)
        assert [len(batch) for batch in batches] == [20, 20, 10]
        assert batches[0].dtype == np.float32 and labels[0].dtype == np.int32
        np.testing.assert_array_equal(np.concatenate(labels), range(50))
        np.testing.assert_array_equal(np.concatenate(batches), numbered(50))


@BOTH
def test_samples_are_drawn_at_random(kind):
    """A folder's images come class by class: the first ones would be of one class."""
    images = both(numbered(50))[kind]
    shown, labels = images.test_sample(10)
    np.testing.assert_array_equal(shown[:, 4, 4, 0], labels)
    assert len(set(labels)) == 10 and max(labels) > 15
    calibration = images.calibration_images(10)
    assert calibration.shape == (10, 8, 8, 1) and calibration.dtype == np.float32
    assert len(set(calibration[:, 4, 4, 0])) == 10 and calibration.max() > 15
    np.testing.assert_array_equal(calibration[:5], images.calibration_images(5))


@BOTH
@pytest.mark.parametrize("mirror", [False, True])
def test_variation_is_a_shift_and_a_mirroring(mirror, kind):
    """Each result is one of all possible ones, and each of those comes up."""
    image = np.arange(1, 8 * 16 * 2 + 1, dtype=np.float32).reshape(8, 16, 2)
    padded = np.pad(image, ((1, 1), (2, 2), (0, 0)))
    shifts = [padded[row : row + 8, column : column + 16] for row in range(3) for column in range(5)]
    possible = {shift.tobytes() for shift in shifts}
    if mirror:
        possible |= {shift[:, ::-1].tobytes() for shift in shifts}
    (batch,), _ = arrays(both(np.stack([image] * 500), mirror=mirror)[kind].train(500), 1)
    assert {result.tobytes() for result in batch} == possible


def test_images_of_another_aspect_ratio_are_cut_and_not_stretched():
    images, _ = both(gradient(24, 48)[np.newaxis] * 255, image_size=12)
    (shown,), _ = arrays(images.test(1), 1)
    down, right = shown[0, ..., 0] / 255, shown[0, ..., 1] / 255
    np.testing.assert_allclose(np.diff(down[2:-2], axis=0), 1 / 12, atol=1e-3)
    np.testing.assert_allclose(np.diff(right[:, 2:-2], axis=1), 1 / 24, atol=1e-3)
    np.testing.assert_allclose([down.mean(), right.mean()], 0.5, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 13), (32, 40)])
def test_both_resize_alike(shape):
    tensorflow, backend = both(photos(5, *shape), image_size=16)
    (one,), _ = arrays(tensorflow.test(5), 1)
    np.testing.assert_allclose(one, np.asarray(backend.test(5)[0][0]), atol=1e-3)


def test_resizing_stays_within_0_and_255():
    white = tf.fill((1, 37, 51, 3), 255.0)
    for size in (16, 32, 50):
        resized = tensorflow_pipeline.resize(white, (size, size)).numpy()
        assert resized.max() == 255 and resized.min() > 254.99


def test_random_crops_have_the_area_and_the_aspect_ratio_that_is_usual():
    images = of_any_size(np.stack([gradient(200, 300)] * 200), image_size=32)
    (cropped,), _ = arrays(images.train(200), 1)
    # What lies between first and last pixel's centre is 31/32 of the part that was cropped.
    heights = (cropped[:, -1, :, 0] - cropped[:, 0, :, 0]).mean(-1) * 32 / 31
    widths = (cropped[:, :, -1, 1] - cropped[:, :, 0, 1]).mean(-1) * 32 / 31
    areas, ratios = heights * widths, widths * 300 / (heights * 200)
    assert 0.06 < min(areas) < 0.2 and 0.8 < max(areas) < 1.05
    assert 0.7 < min(ratios) < 0.85 and 1.2 < max(ratios) < 1.43


@pytest.mark.parametrize("mirror", [False, True])
def test_random_crops_differ_and_are_mirrored_where_asked(mirror):
    images = of_any_size(np.stack([gradient(20, 30) * 255] * 40), mirror=mirror, image_size=16)
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


@pytest.mark.parametrize(("height", "width"), [(7, 5), (2, 99_999)])
def test_evaluation_shows_the_middle_of_small_and_thin_images(height, width):
    shown = tensorflow_pipeline.resized_centre(tf.constant(gradient(height, width)), (224, 224)).numpy()
    assert shown.shape == (224, 224, 3)
    np.testing.assert_allclose(shown[..., :2].mean((0, 1)), 0.5, atol=0.01)
