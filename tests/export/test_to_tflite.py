import argparse
import json
import shlex
import shutil

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, data
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.earlier_runs import images_of_network
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.metadata import read_metadata
from ddnn_keras.tflite.export import describe_images


def test_a_depth_alone_takes_the_newest_run_and_says_nothing_else(script, printed, finished_run, tmp_path, monkeypatch):
    """In a real process, whose standard error has no line of TensorFlow's or LiteRT's log."""
    run = shutil.copytree(finished_run, tmp_path / "runs" / "newest")
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    finished = script("export/to_tflite.py", "--depth", 18, cwd=tmp_path)
    assert finished.stderr == ""
    assert finished.stdout.startswith("Model: runs/newest/model.keras (the newest run)\nVerified: ")
    folder = run / "tflite"
    assert {"depth_18.tflite", "depth_18.json"} < {path.name for path in folder.iterdir()}
    model = load_network(run / "model.keras")
    images = data.load("digits").calibration_images(20)
    logits = LiteModel(folder / "depth_18.tflite")(images)
    np.testing.assert_allclose(logits, model.subnet(18).predict(images, verbose=0), atol=1e-4)
    metadata = read_metadata(folder / "depth_18.tflite")
    assert metadata == json.loads((folder / "depth_18.json").read_text())
    assert metadata["labels"] == list("0123456789")
    assert metadata["depths"] == {"serving_default": {"depth": 18, "blocks_per_stage": [2, 2, 2, 2]}}

    # The next command that it names works as it stands.
    monkeypatch.chdir(tmp_path)
    *_, command = finished.stdout.splitlines()
    assert "ms)" in printed(*command.removeprefix("Next: python ").split())


@pytest.mark.parametrize("dataset", [None, "digits"])
def test_the_run_tells_what_the_command_line_leaves_open(copied_run, dataset):
    def change(config):
        config["arguments"].update(seed=1, train_images=1000)
        config["num_images"]["train"] = 1000

    arguments = argparse.Namespace(dataset=dataset, data_dir=None, manual_dir=None)
    images = images_of_network(copied_run(change) / "model.keras", arguments, (16, 16, 1), 10)
    own = data.load("digits", seed=1)
    assert images.num_train == (own.num_train if dataset else 1000)
    # Other seeds' validation images are images that the network was trained on.
    for (found, _), (expected, _) in zip(images.validation(500), own.validation(500), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_model_without_its_run_needs_a_data_set(finished_run, tmp_path, mistake):
    shutil.copy(finished_run / "model.keras", tmp_path / "lonely.keras")
    flags = ["--model", tmp_path / "lonely.keras", "--depth", 10]
    assert "--dataset must be given" in mistake("export/to_tflite.py", *flags)


@pytest.mark.slow
def test_a_run_on_few_oblong_images_with_unusual_class_names(printed, script, tmp_path, monkeypatch):
    """A run begun with a relative path to its data, exported from another folder."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = random.integers(0, 100, (60, 12, 20, 1)) + 150 * labels[:, None, None, None]
    arrays = {"x_train": images[:40], "y_train": labels[:40], "x_test": images[40:], "y_test": labels[40:]}
    names = ["T-shirt/top", "Ankle boot" + 30 * ", or the like"]
    np.savez(tmp_path / "a.npz", **{name: array.astype("uint8") for name, array in arrays.items()}, class_names=names)
    flags = ["--depths", 10, "--width", 4, "--epochs", 4, "--batch-size", 6, "--output", tmp_path / "my run"]
    script("recipes/train.py", "--dataset", "npz:a.npz", *flags, cwd=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for quantize in ("none", "int8"):
        model = tmp_path / "my run" / "model.keras"
        output = printed("export/to_tflite.py", "--model", model, "--depth", 10, "--quantize", quantize)
    (sample,) = (tmp_path / "my run" / "tflite").glob("*.png")
    assert sample.name in ("sample_T-shirt-top.png", f"sample_{('Ankle-boot' + 30 * '-or-the-like')[:60]}.png")
    output = printed(*shlex.split(output.splitlines()[-1].removeprefix("Next: python ")))
    assert "T-shirt/top" in output and "Ankle boot" in output


@pytest.mark.parametrize(
    ("arguments", "named", "allowed"),
    [
        (["--depth", "34"], "34", "all or one of 10, 18"),
        (["--depth", "18", "--bundle"], "--depth 18", "must go with --depth all"),
        (["--depth", "18", "--io-dtype", "uint8"], "uint8", "--io-dtype must be float32 with none"),
        (["--depth", "18", "--max-drop", "1"], "none", "--max-drop must go with --quantize int8"),
        (["--depth", "18", "--quantize", "int8", "--keep", "stem"], "stem", "--keep must be layers among stem_conv, "),
        (["--depth", "18", "--model", "/no/model.keras"], "/no/model.keras", "no model file"),
        (["--depth", "18", "--dataset", "npz:/no/file.npz"], "/no/file.npz", "no file"),
    ],
)
def test_mistakes(mistake, finished_run, tmp_path, arguments, named, allowed):
    model = [] if "--model" in arguments else ["--model", finished_run / "model.keras"]
    sentence = mistake("export/to_tflite.py", *model, *arguments, "--output", tmp_path / "out")
    assert named in sentence
    assert allowed in sentence
    assert not (tmp_path / "out").exists()


def save_noise(path, shape):
    images, labels = np.random.default_rng(0).integers(0, 256, (20, *shape)).astype("uint8"), np.arange(20) % 3
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)


def test_other_models_and_other_data(mistake, finished_run, copied_run, tmp_path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    flags = ["--depth", 18, "--dataset", "digits"]
    sentence = mistake("export/to_tflite.py", "--model", tmp_path / "other.keras", *flags)
    assert "must hold a ddnn_keras.DDNN. It holds a Sequential" in sentence
    save_noise(tmp_path / "colour.npz", (16, 16, 3))
    flags = ["--model", finished_run / "model.keras", "--depth", 18, "--dataset", f"npz:{tmp_path}/colour.npz"]
    assert "(16, 16, 3)" in mistake("export/to_tflite.py", *flags)
    # As many classes, of other names.
    run = copied_run(lambda config: config.update(class_names=[*"9876543210"]))
    flags = ["--model", run / "model.keras", "--depth", 18, "--dataset", "digits"]
    assert "class_names was ['9', '8'" in mistake("export/to_tflite.py", *flags)


def test_an_interrupted_run_is_told_of(copied_run, printed):
    run = copied_run()
    (run / "metrics.json").unlink()
    output = printed("export/to_tflite.py", "--model", run / "model.keras", "--depth", 10)
    assert f"{run} is not finished" in output


def test_a_network_with_a_loss_of_ones_own_for_images_of_two_channels(printed, mistake, tmp_path, monkeypatch):
    """Neither is a picture that a PNG can show, nor can the script know that loss."""

    def my_loss(labels, logits):
        return keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    model = DDNN((8,), "resnet_cifar", width=2, num_classes=3, input_shape=(12, 12, 2))
    model.compile("sgd", loss=my_loss)
    model.save(tmp_path / "model.keras")
    save_noise(tmp_path / "a.npz", (12, 12, 2))
    monkeypatch.chdir(tmp_path)
    flags = ["--depth", "all", "--dataset", "npz:a.npz"]
    output = printed("export/to_tflite.py", "--model", "model.keras", *flags)
    assert "Next: " not in output
    file = tmp_path / "tflite" / "depth_8.tflite"
    assert read_metadata(file)["source"] == f"{tmp_path.name}/model.keras"
    keras.utils.save_img(tmp_path / "grey.png", np.zeros((12, 12, 1)))
    sentence = mistake("export/run_tflite.py", file, tmp_path / "grey.png")
    assert "must take 1 or 3 channels to read image files for it. Received: 2" in sentence


def test_a_bundle(finished_run, tmp_path, printed):
    """All depths in one file, and the next command that the script names, with a depth."""
    flags = ["--depth", "all", "--bundle", "--quantize", "int8", "--io-dtype", "uint8", "--calibration-images", 50]
    flags += ["--verification-images", 100, "--output", tmp_path]
    output = printed("export/to_tflite.py", "--model", finished_run / "model.keras", *flags)
    metadata = read_metadata(tmp_path / "bundle_int8_uint8.tflite")
    assert [facts["depth"] for facts in metadata["depths"].values()] == [10, 18]
    assert metadata["calibration"] == describe_images(data.load("digits").calibration_images(50))
    for signature in ("depth_10", "depth_18"):
        verification = metadata["signatures"][signature]["verification"]
        assert verification["num_images"] == 100
        assert f"{verification['accuracy']:.2%}" in output
    command = shlex.split(output.splitlines()[-1].removeprefix("Next: python "))
    printed(*command, "--depth", "10")


@pytest.mark.slow
def test_a_layer_in_float_and_as_few_as_needed(finished_run, tmp_path, printed):
    flags = ["--model", finished_run / "model.keras", "--depth", 10, "--quantize", "int8", "--output", tmp_path]
    printed("export/to_tflite.py", *flags, "--keep", "stem_conv")
    assert read_metadata(tmp_path / "depth_10_int8_mixed.tflite")["keep"] == ["stem_conv"]
    assert "Kept in float32 in depth_10: no layer" in printed("export/to_tflite.py", *flags, "--max-drop", 100)
    assert read_metadata(tmp_path / "depth_10_int8.tflite")["keep"] == []


@pytest.mark.slow
def test_a_family_with_dense_layers_exports_and_verifies(printed, tmp_path):
    """They have no batch normalisation."""
    flags = ["--dataset", "digits", "--image-size", 32, "--backbone", "vgg", "--depths", 11, 13, "--width", 8]
    printed("recipes/train.py", *flags, "--stem", "imagenet", "--epochs", 4, "--output", tmp_path / "vgg")
    for mode in ("none", "int8", "int16x8"):
        flags = ["--model", tmp_path / "vgg/model.keras", "--depth", "all", "--quantize", mode, "--bundle"]
        printed("export/to_tflite.py", *flags)
