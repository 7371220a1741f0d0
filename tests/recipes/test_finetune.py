"""recipes/finetune.py: from a pretrained network and a folder of pictures to a run like any other."""

import argparse
import json
import os
import pathlib
import runpy
import shutil
import sys

import keras
import numpy as np
import pytest
from conftest import ROOT, kill_training
from PIL import Image
from sklearn.datasets import load_digits

from ddnn_keras import DDNN, data
from ddnn_keras.runs import finetuning
from ddnn_keras.runs.best_epoch import BestEpoch
from ddnn_keras.runs.checkpoint import Checkpoint, load_network
from ddnn_keras.runs.pretrained_start import pretrained_network
from ddnn_keras.runs.run_directory import RunDirectory

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("finetune")

SCRIPT = "recipes/finetune.py"
FOLDER = str(pathlib.Path(__file__).parent)
TINY = ["--image-size", 32, "--epochs", 4, "--head-epochs", 1, "--learning-rate", 0.05]


def residual(x, filters, name):
    y = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return keras.layers.Add(name=f"{name}_add")([x, keras.layers.BatchNormalization(name=f"{name}_bn")(y)])


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """200 handwritten digits as PNG files, in a folder for each class; of one class there are few."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    digits = load_digits()
    for number, (image, digit) in enumerate(zip(digits.images[:200], digits.target)):
        if digit != 9 or number < 100:
            path = folder / f"digit_{digit}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15).astype("uint8")).resize((16, 16)).save(path)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small residual network of somebody, in a file."""
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", name="stem")(image)
    for name in ("a", "b", "c"):
        x = residual(x, 8, name)
    x = keras.layers.Activation("relu")(keras.layers.Conv2D(16, 3, 2, "same", name="down")(x))
    for name in ("d", "e"):
        x = residual(x, 16, name)
    path = tmp_path_factory.mktemp("source") / "mine.keras"
    keras.Model(image, x, name="mine").save(path)
    return path


@pytest.fixture(scope="module")
def flags(photos, source):
    return ["--dataset", f"folder:{photos}", "--start", source, "--preprocessing", "tf", "--depths", 2, *TINY]


@pytest.fixture(scope="module")
def finetuned(flags, tmp_path_factory, script):
    path = tmp_path_factory.mktemp("finetuned") / "run"
    finished = script(SCRIPT, *flags, "--output", path)
    assert finished.stderr == ""
    path.with_name("printed").write_text(finished.stdout)
    return path


def test_the_run_directory(finetuned):
    files = {"model.keras", "config.json", "history.csv", "metrics.json", "curves.png", "confusion.png", ".lock"}
    assert {path.name for path in finetuned.iterdir()} == files
    metrics = json.loads((finetuned / "metrics.json").read_text())
    assert len(metrics) == 2
    for row in metrics.values():
        assert set(row["recall"]) == {f"digit_{digit}" for digit in range(10)}
    assert "worst recall" in finetuned.with_name("printed").read_text()


def test_the_network_of_the_best_epoch_stays(finetuned, photos):
    model = load_network(finetuned / "model.keras")
    found = model.evaluate(data.load(f"folder:{photos}", image_size=32).validation(32), return_dict=True, verbose=0)
    names = [f"{key}_accuracy" for key in model.output_keys]
    means = [np.mean([row[f"val_{name}"] for name in names]) for row in RunDirectory(finetuned).read_history()]
    assert np.mean([found[name] for name in names]) == pytest.approx(max(means))


@pytest.mark.slow
def test_photos_on_jax(flags, script, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    script(SCRIPT, *flags, "--epochs", 2, "--output", tmp_path / "run", env=environment)
    assert RunDirectory(tmp_path / "run").metrics.is_file()


def test_tensorboard_is_missed_before_the_training(flags, mistake, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert "--tensorboard needs tensorboard" in mistake(SCRIPT, *flags, "--tensorboard", "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def run_with_history(path, accuracies):
    run = RunDirectory(path)
    run.history.write_text("\n".join(["epoch,val_accuracy", *(f"0,{accuracy}" for accuracy in accuracies)]))
    return run


@pytest.mark.parametrize(
    ("accuracies", "head_epochs", "past"),
    [((0.9, 1, 1, 1), 0, False), ((0.9, 1, 0.9, 0.9), 0, True), ((0.9, 1, 0.9, 0.9), 3, False)],
    ids=["as good", "worse", "of the classifiers"],
)
def test_when_a_training_ends_early(accuracies, head_epochs, past, tmp_path):
    run = run_with_history(tmp_path, accuracies)
    assert BestEpoch(run, ["depth_7"], 2, head_epochs).is_past() == past


@pytest.mark.parametrize("best", [True, False])
def test_a_resumed_run_keeps_the_best_epoch_that_was_saved_last(best, tmp_path):
    run = run_with_history(tmp_path, (0.9, 1.0 if best else 0.8))
    run.model.write_bytes(b"the newest epoch")
    BestEpoch(run, ["depth_7"], patience=2).on_train_begin()
    assert run.best.exists() == best


def test_the_last_epoch_counts_where_a_run_ended_before_it_was_kept(tmp_path):
    run = run_with_history(tmp_path, (0.9, 1.0))
    model = DDNN(depths=(8,), backbone="resnet_cifar", width=2)
    model.compile("sgd")
    checkpoint = Checkpoint(run.model)
    checkpoint.set_model(model)
    checkpoint.on_train_begin()
    checkpoint.save(2)
    newest = model.get_weights()
    model.set_weights([np.zeros_like(weights) for weights in newest])
    model.save(run.best)
    BestEpoch(run, model.output_keys, patience=2).restore(model, finished_epochs=2)
    for found, expected in zip(load_network(run.model).get_weights(), newest):
        np.testing.assert_array_equal(found, expected)


def test_each_thing_is_varied_by_random_numbers_of_its_own():
    assert len({layer.seed for layer in finetuning.AUGMENTATIONS["light"](7)}) == 3


@pytest.mark.parametrize(
    ("settings", "first", "last"),
    [({"epochs": 20}, 0.0, 0.01), ({"epochs": 1}, 0.0, 0.03), ({"epochs": 5, "warmup_epochs": 0}, 1.0, 0.01)],
    ids=["long", "short", "as finetune_qat.py"],
)
def test_the_rate_rises_and_falls(settings, first, last):
    others = {"head_epochs": 0, "learning_rate": 1.0, "optimizer": "sgd", "weight_decay": 0.0}
    arguments = argparse.Namespace(**others, **settings)
    rate = finetuning.optimizer(arguments, steps_per_epoch=20)._learning_rate
    assert float(rate(0)) == first
    assert max(float(rate(step)) for step in range(20 * arguments.epochs)) == pytest.approx(1, abs=0.01)
    assert float(rate(20 * arguments.epochs - 1)) < last


@pytest.mark.parametrize(("size", "shown"), [((300, 200), 224), ((150, 200), None), ((16, 16), 96)])
def test_photos_of_one_size_are_shown_at_one_that_a_pretrained_network_takes(size, shown, tmp_path):
    for number in range(20):
        path = tmp_path / f"class_{number % 2}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", size).save(path)
    arguments = runpy.run_path(SCRIPT)["parser"].parse_args(["--dataset", f"folder:{tmp_path}"])
    images = finetuning.settled_images(arguments)
    assert arguments.image_size == shown
    assert images.image_shape[:2] == ((shown, shown) if shown else size[::-1])


def test_the_classifiers_are_trained_first(flags, source, printed, tmp_path):
    # A rate of 0 is that of all layers.
    printed(SCRIPT, *flags, "--epochs", 2, "--learning-rate", 0, "--output", tmp_path / "run")
    model = load_network(tmp_path / "run/model.keras")
    keras.utils.set_random_seed(0)
    start = DDNN.from_keras(keras.saving.load_model(source), 2, num_classes=10, preprocessing="tf")
    for name in ("a_conv", "down"):
        np.testing.assert_array_equal(model.get_layer(name).kernel, start.get_layer(name).kernel)
    for key in model.output_keys:
        assert np.max(np.abs(model.get_layer(key).kernel - start.get_layer(key).kernel)) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("finished_epochs", [1, 2])
def test_a_killed_run_ends_with_the_history_of_another(finetuned, photos, flags, finished_epochs, script, tmp_path):
    run = RunDirectory(tmp_path / "killed")
    kill_training(lambda: len(run.read_history()) >= finished_epochs, SCRIPT, *flags, "--output", run.path)
    assert "begun by finetune.py" in script("recipes/train.py", "--resume", run.path, code=2).stderr
    moved = f"folder:{shutil.copytree(photos, tmp_path / 'moved')}"
    script(SCRIPT, "--resume", run.path, "--dataset", moved)
    for name in ("history.csv", "metrics.json"):
        assert (run.path / name).read_bytes() == (finetuned / name).read_bytes()
    assert run.read_config()["arguments"]["dataset"] == moved


@pytest.mark.slow
def test_what_comes_after_takes_it_like_any_run(finetuned, printed, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(finetuned, tmp_path / "run")
    export = "export/to_tflite.py", "--model", run / "model.keras", "--depth", "all", "--quantize", "int8", "--bundle"
    assert printed(*export).count("Verified: ") == 1
    picture = next(photos.rglob("*.png"))
    assert "digit_" in printed("export/run_tflite.py", run / "tflite/bundle_int8.tflite", picture)
    # Its photos have moved.
    shutil.copytree(photos, tmp_path / "moved")
    printed("recipes/finetune_qat.py", "--run", run, "--epochs", 1, "--dataset", "folder:moved")
    config = RunDirectory(run.with_name("run_qat")).read_config()
    assert config["arguments"]["dataset"] == f"folder:{tmp_path}/moved"
    rounded = run.with_name("run_qat") / "model.keras"
    assert rounded.with_name("confusion.png").exists()
    shutil.copy(picture, tmp_path / "moved" / picture.parent.name / "one_more.png")
    shown = printed(*export[:1], "--model", rounded, *export[3:], "--dataset", "folder:moved")
    assert f"folder:moved has other photos than {run}_qat, which may know some of them." in shown
    assert shown.count("Verified: ") == 1


@pytest.mark.slow
def test_starts_with_weights_of_files(photos, tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    images = data.load(f"folder:{photos}", image_size=32)
    application = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    application.save_weights(tmp_path / "mine.weights.h5")
    stages = [64, 16], [2, 2], [1, 2]
    backbone = keras_hub.models.ResNetBackbone([64], [3], *stages, "basic_block", image_shape=(None, None, 3))
    backbone.save_to_preset(tmp_path / "preset")
    for start, weights, source in [
        ("keras:MobileNetV2", str(tmp_path / "mine.weights.h5"), application),
        (f"hub:{tmp_path}/preset", None, backbone),
    ]:
        arguments = {"start": start, "weights": weights, "depths": 2, "preprocessing": "auto", "precision": None}
        model = pretrained_network(argparse.Namespace(**arguments), images)
        kernels = [next(layer for layer in network.layers if hasattr(layer, "kernel")) for network in (model, source)]
        np.testing.assert_array_equal(*(layer.kernel for layer in kernels))
        assert len(model.depths) == 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (["--start", "keras:MobileNet9"], "--start keras:MobileNet9 cannot be loaded: keras.applications has no M"),
        (["--start", ROOT / "setup.cfg"], "setup.cfg cannot be loaded: "),
        (["--start", "MobileNetV2"], "argument --start: MobileNetV2 is no file, and none of efficientnet_lite0, "),
        (["--start", "efficientnet_lite0"], "--preprocessing must be auto for this start. Received: tf"),
        (
            ["--start", "efficientnet_lite0", "--preprocessing", "auto", "--depths", 4],
            "--depths must be from 1 to 3 for",
        ),
        (["--image-size", 64], "--image-size must be that of this start, 32. Received: images of 64x64"),
        (["--dataset", FOLDER], f"--dataset '{FOLDER}' is not a known data set. Did you mean 'folder:{FOLDER}'?"),
        (["--preprocessing", "auto"], "--preprocessing must be given for a source called 'mine'"),
        (["--dataset", "digits"], "--dataset must have images of 3 channels. Received: 1"),
        (["--attention-weight", 1], "must not set --attention-weight, which --distillation kl leaves out."),
        (["--head-epochs", 4], "--head-epochs must be fewer than the 4 --epochs."),
    ],
)
def test_mistakes(flags, wrong, sentence, mistake, tmp_path):
    assert sentence in mistake(SCRIPT, *flags, *wrong, "--output", tmp_path / "run")
