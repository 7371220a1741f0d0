import json
import os
import socket
import subprocess
import sys

import keras_tuner
import numpy as np
import pytest
import tune
from conftest import ROOT

from ddnn_keras import data
from ddnn_keras.runs import search, search_space
from ddnn_keras.runs.arguments import load_images

TINY = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", "8", "14", "--width", "2", "--stem", "strided"]
TINY += ["--batch-size", "400", "--warmup-epochs", "0"]


def parsed(*flags):
    return tune.parser.parse_args([*TINY, "--output", "unused", *flags])


def trials(output):
    return json.loads((output / "trials.json").read_text())


def check(found, output, epochs):
    """The trials are real, the best one first, and within the searched ranges."""
    assert found == sorted(found, key=lambda trial: -trial["accuracy"])
    for trial in found:
        assert 0 < trial["accuracy"] < 1
        assert 1 <= trial["best_epoch"] <= epochs
        arguments = trial["arguments"]
        assert 0.01 <= arguments["attention_weight"] <= 10
        assert 0.5 <= arguments["temperature"] <= 8
        assert arguments["teacher"] in ("full-net", "mean")
    assert len({trial["arguments"]["learning_rate"] for trial in found}) > 1
    assert len(list(output.glob("trial_*/checkpoint*"))) >= len(found)


@pytest.mark.slow
def test_a_repeated_command_keeps_the_trials_and_makes_more(printed, mistake, tmp_path):
    output = tmp_path / "tuning"
    flags = [*TINY, "--epochs", 2, "--output", output]
    printed("recipes/tune.py", *flags, "--trials", 1)
    (first,) = trials(output)
    printed("recipes/tune.py", *flags, "--trials", 2, "--objective", "mean")
    assert len(trials(output)) == 2
    assert first in trials(output)
    check(trials(output), output, epochs=2)
    sentence = mistake("recipes/tune.py", *flags, "--objective", "shallowest")
    assert f"--output {output} is a search with objective mean, not shallowest." in sentence


def test_every_trial_starts_from_the_same_weights():
    searching = search.Search(parsed("--epochs", "4"), data.load("digits"))
    hp = keras_tuner.HyperParameters()
    first, second = searching.build(hp), searching.build(hp)
    for one, other in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(one, other)
    searching.fit(hp, first, verbose=0)
    assert int(first.optimizer.iterations) == 4 * (1293 // 400)


def test_a_training_whose_loss_is_no_number_counts_as_an_accuracy_of_0_and_ends():
    arguments = parsed("--epochs", "9", "--learning-rate", "1e6", "--search", "temperature")
    searching = search.Search(arguments, data.load("digits"))
    hp = keras_tuner.HyperParameters()
    history = searching.fit(hp, searching.build(hp), verbose=0)
    assert not np.isfinite(history.history["loss"][-1])
    assert len(history.epoch) < 9
    for name in search.OBJECTIVES.values():
        assert set(history.history[name]) == {0.0}


@pytest.mark.parametrize(
    ("flags", "spaces"),
    [
        (["--search", "temperature", "kl_weight", "--learning-rate", "0.2"], {"temperature", "kl_weight"}),
        (["--search", "attention_weight", "teacher", "--attention", "activation"], {"activation_weight", "teacher"}),
    ],
)
def test_what_is_not_searched_has_the_value_of_its_flag(flags, spaces):
    arguments = parsed(*flags)
    hp = keras_tuner.HyperParameters()
    found = search_space.chosen(hp, arguments)
    assert {space.name for space in hp.space} == spaces
    assert set(found) == set(search_space.SEARCHED)
    for name in set(found) - set(arguments.search):
        assert found[name] == vars(arguments)[name]
    model = search.Search(arguments, data.load("digits")).build(hp)
    assert model.distillation.temperature == found["temperature"]
    assert model.distillation.attention_weight == found["attention_weight"]
    assert float(model.optimizer.learning_rate) == pytest.approx(found["learning_rate"])


def test_the_seed_decides_the_first_trials(tmp_path):
    found = []
    for name in ("one", "same", "other"):
        arguments = parsed("--trials", "4", "--seed", str(int(name == "other")))
        tuner = search.new_tuner(arguments, load_images(arguments), tmp_path / name)
        found.append(tuner.oracle.create_trial("tuner0").hyperparameters.values)
    assert found[0] == found[1] != found[2]


@pytest.mark.slow
def test_one_chief_and_two_workers(script, tmp_path):
    """Three processes on one host, as KerasTuner documents it."""
    output = tmp_path / "tuning"
    flags = [*TINY, "--epochs", "1", "--trials", "5", "--output", str(output)]
    command = [sys.executable, str(ROOT / "recipes" / "tune.py"), *flags]
    # Begun without a chief.
    script("recipes/tune.py", *flags, "--trials", "1")
    (begun,) = trials(output)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    oracle = {**os.environ, "KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    names = ("chief", "tuner0", "tuner1")
    processes = [subprocess.Popen(command, env={**oracle, "KERASTUNER_TUNER_ID": name}, **pipes) for name in names]
    printed = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], printed
    assert len(trials(output)) == 5
    assert begun in trials(output)
    check(trials(output), output, epochs=1)
    # Each worker trained some of them.
    trained = ["validation accuracy of depth" in text for text in printed]
    assert trained[1:] == [True, True], printed


def test_mistakes(mistake, tmp_path):
    flags = [*TINY, "--output", tmp_path / "tuning"]
    assert "--depths must be 2 or more" in mistake("recipes/tune.py", *flags, "--depths", 8)
    sentence = mistake("recipes/tune.py", *flags, "--distillation", "kl")
    assert "--search must not set --attention-weight, which --distillation kl leaves out." in sentence
    sentence = mistake("recipes/tune.py", *flags, "--learning-rate", 0.2)
    assert "--learning-rate must not have a value where it is searched." in sentence
    assert "--validation-freq must be 1" in mistake("recipes/tune.py", *flags, "--validation-freq", 5)
    assert "--batch-size must be from 1 to" in mistake("recipes/tune.py", *flags, "--batch-size", 5000)
    assert not (tmp_path / "tuning").exists()


def test_a_search_stays_on_its_backend_and_with_its_images_wherever_these_lie(tmp_path):
    arguments = parsed("--data-dir", "here")
    images, path = load_images(arguments), tmp_path / "settings.json"
    tune.same_settings(arguments, images, path)
    arguments.data_dir = "elsewhere"
    tune.same_settings(arguments, images, path)
    with pytest.raises(ValueError, match=r"^--dataset digits has other images than the search in .*: use another"):
        tune.same_settings(arguments, data.load("digits", train_images=100), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "backend": "torch"}))
    with pytest.raises(ValueError, match=r"^--output .* is a search with backend torch, not tensorflow\.$"):
        tune.same_settings(arguments, images, path)
