"""recipes/study/compare.py, as a user runs it, on a tiny setting."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time

import compare
import filelock
import keras
import numpy as np
import psutil
import pytest
from compare import METHODS
from comparison_records import portable, portable_flags, read_records
from comparison_runs import reason
from conftest import ROOT

from ddnn_keras.runs.arguments import with_absolute_paths

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("compare")

# The first published comparison, reduced to what takes seconds; the others differ in what is reduced.
COMMAND = r"^(?:KERAS_BACKEND=(\w+) )?python recipes/study/compare.py (.*)$"
ALL_PUBLISHED = re.findall(COMMAND, (ROOT / "recipes/results/README.md").read_text(), re.MULTILINE)
_, PUBLISHED = ALL_PUBLISHED[0]
REDUCED = {
    "--dataset": ["digits"],
    "--manual-dir": None,
    "--train-images": ["400"],
    "--depths": ["8", "14"],
    "--width": ["2"],
    "--epochs": ["2"],
    "--warmup-epochs": ["0"],
    "--validation-freq": ["1"],
    "--methods": None,
    "--seeds": None,
    "--jobs": None,
    "--output": None,
}


def reduced(command):
    """The flags of a command, with those in `REDUCED` replaced or left out."""
    flags = {flag: values.split() for flag, values in re.findall(r"(--[\w-]+)((?: (?!--)\S+)*)", command)}
    return [word for flag, values in {**flags, **REDUCED}.items() if values is not None for word in (flag, *values)]


SETTINGS = reduced(PUBLISHED)


def test_the_published_comparison_is_what_is_reduced_here():
    assert {"--backbone", "--stem", "--batch-size", "--learning-rate"} <= set(SETTINGS)
    assert not {"--seeds", "cifar10", "20"} & set(SETTINGS)


@pytest.mark.parametrize(("backend", "command"), ALL_PUBLISHED, ids=lambda text: text.split("/")[-1] or "tensorflow")
def test_published_commands_make_the_published_runs(backend, command, monkeypatch):
    """Which runs they would make, and with what: nothing that the records contradict."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend or "tensorflow")
    flags = shlex.split(command.replace("ARCHIVES", "."))
    arguments = compare.argument_parser().parse_args(flags)
    records = read_records(ROOT / arguments.output)
    runs = compare.plan(with_absolute_paths(arguments))
    # Variants may have a command of their own.
    of_the_command = {record["name"] for record in records if record["method"] in METHODS}
    assert of_the_command and of_the_command <= {run.name for run in runs}
    compare.check_records(records, runs, arguments.output)


def test_the_longest_runs_come_first_within_a_seed():
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--variant", "hot", "--temperature 2", "--seeds", "1", "0"]
    runs = compare.plan(compare.argument_parser().parse_args([*flags, "--output", "x"]))
    order = ["ekd_8-14", "hot_8-14", "alone_14", "alone_8"]
    assert [run.name for run in runs] == [f"{name}_seed{seed}" for seed in (1, 0) for name in order]


def test_records_do_not_say_where_things_are_on_a_machine():
    flags = ["--dataset", "npz:/home/someone/digits.npz", "--data-dir", "/data", "--epochs", "2", "--manual-dir", "/x"]
    assert portable_flags(flags) == ["--dataset", "npz:digits.npz", "--epochs", "2"]
    assert portable({"dataset": "npz:/home/digits.npz", "data_dir": "/data", "seed": 1, "output": "/x"}) == {
        "dataset": "npz:digits.npz",
        "seed": 1,
    }
    assert portable({"dataset": "mnist:3.0.1"}) == {"dataset": "mnist:3.0.1"}
    assert portable({"dataset": "folder:/home/photos/"}) == {"dataset": "folder:photos"}


def results(output):
    return {run["name"]: run for run in json.loads((output / "results.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def comparison(script, tmp_path_factory):
    """Killed in its second run and taken up again; what it printed, and the first run's record at the kill."""
    output = tmp_path_factory.mktemp("comparison") / "digits"
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", output]
    process = script("recipes/study/compare.py", *flags, start=True)
    end = time.monotonic() + 300
    while not (output / "runs" / "alone_14_seed0" / "config.json").exists():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    # The training that is under way goes on without its parent, when that is being waited for and not before.
    (training,) = psutil.Process(process.pid).children()
    training.suspend()
    process.kill()
    process.wait()
    first = results(output)
    command = [sys.executable, ROOT / "recipes/study/compare.py", *map(str, flags)]
    printed = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as again:
        for line in again.stdout:
            printed += line
            if line.startswith("Waiting for the process that writes"):
                training.resume()
    assert again.returncode == 0
    return output, printed, first


def test_a_killed_comparison_goes_on_where_it_was(comparison):
    output, printed, first = comparison
    assert list(first) == ["ekd_8-14_seed0"]
    assert "1 of 3 runs are done." in printed
    found = results(output)
    assert list(found) == ["alone_14_seed0", "alone_8_seed0", "ekd_8-14_seed0"]
    assert found["ekd_8-14_seed0"] == first["ekd_8-14_seed0"]
    assert [run["resumed"] for run in found.values()] == [True, False, False]
    assert "Waiting for the process that writes" in printed
    assert all(run["seconds"] > 0 for run in found.values())
    assert printed.endswith((output / "table.md").read_text() + "\n")
    assert (output / "accuracy.png").stat().st_size > 10_000


def test_records_say_how_a_run_was_made(comparison):
    run = results(comparison[0])["ekd_8-14_seed0"]
    assert run["command"].startswith("python recipes/train.py --dataset digits --train-images 400 ")
    assert "--depths 8 14 --seed 0 --evaluate-on validation --distillation ekd" in run["command"]
    assert run["arguments"]["kl_weight"] == 1.0 and "data_dir" not in run["arguments"]
    assert run["threads"] == int(os.environ.get("TF_NUM_INTRAOP_THREADS", os.cpu_count()))
    assert set(run["versions"]) >= {"keras", "tensorflow", "ddnn_keras"}
    config = json.loads((comparison[0] / "runs/ekd_8-14_seed0/config.json").read_text())
    assert run["processor"] == config["processor"] and run["revision"] == config["revision"]
    assert set(run["validation"]) == {"depth_8", "depth_14"}
    assert "test" not in run


@pytest.mark.parametrize(("name", "prefix"), [("ekd_8-14_seed0", "depth_8_"), ("alone_8_seed0", "")])
def test_records_have_the_last_epoch_s_accuracy_on_training_images(comparison, name, prefix):
    with open(comparison[0] / "runs" / name / "history.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    expected = {metric: float(last[prefix + metric]) for metric in ("accuracy", "loss")}
    assert results(comparison[0])[name]["train"]["depth_8"] == expected


def test_alone_and_jointly_from_the_same_weights_and_images(comparison):
    """Nothing but depths and distillation differs; tests/test_model.py has what the same seed gives both."""
    runs = comparison[0] / "runs"
    configs = [json.loads((runs / name / "config.json").read_text()) for name in ("alone_8_seed0", "ekd_8-14_seed0")]
    alone, ekd = ({**config["arguments"]} for config in configs)
    assert {name for name in alone if alone[name] != ekd[name]} == {"depths", "distillation"}


@pytest.mark.slow
def test_no_run_is_made_twice_and_the_test_split_comes_last(comparison, main, tmp_path):
    # A copy: other tests say what the shared comparison holds.
    output = shutil.copytree(comparison[0], tmp_path / "digits")
    before = results(output)
    assert set(METHODS) == {"alone", "joint", "kl", "attention", "ekd"}
    written = (output / "runs" / "ekd_8-14_seed0" / "model.keras").stat().st_mtime_ns
    flags = [*SETTINGS, "--seeds", 0, 1, "--jobs", 2, "--output", output]
    flags += ["--variant", "hot", "--temperature 2 --epochs 1"]
    code, printed, errors = main("recipes/study/compare.py", *flags, "--test")
    assert code == 0, errors
    assert "3 of 14 runs are done." in printed
    assert "Accuracy on the test split" in printed
    after = results(output)
    assert {name: after["hot_8-14_seed1"]["arguments"][name] for name in ("temperature", "epochs")} == {
        "temperature": 2.0,
        "epochs": 1,
    }
    assert len((output / "runs/hot_8-14_seed1/history.csv").read_text().splitlines()) == 2
    assert {run["seed"] for run in after.values()} == {0, 1}
    for name, run in after.items():
        assert set(run.pop("test")) == set(run["validation"])
        assert name not in before or run == before[name]
    assert set(before) < set(after)
    assert "| 8 | hot | 2 |" in (output / "table.md").read_text()
    assert (output / "runs" / "ekd_8-14_seed0" / "model.keras").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (["--epochs", 3], "holds the run alone_14_seed0 with epochs 2, which does not compare with the 3 of"),
        (["--variant", "ekd", "--kl-weight 2"], "--variant must not have the name of a method. Received: ekd"),
        (["--methods", "magic"], "invalid choice: 'magic'"),
        (["--variant", "hot", "--temperature x"], "x is not a number of 0 or more"),
        (["--variant", "hot", "--temperature 0"], "--variant hot: `temperature` must be a positive number"),
        (
            ["--variant", "cold", "--distillation none --kl-weight 3"],
            "--variant cold must not set --kl-weight, which --distillation none leaves out.",
        ),
        (["--variant", "hot", "--temperature '2"], "--variant hot must have flags as a shell reads them: No closing"),
        (
            ["--variant", "hot", "", "--variant", "hot", ""],
            "--variant must have another name each time. Received twice",
        ),
        (["--variant", "a/b", ""], "--variant must have a name of letters, digits, _, . and -. Received: a/b"),
        (["--depths", 8], "--depths must be 2 or more: nothing teaches one alone. Received: 8"),
        (["--depths", 8, 8], "--depths must not repeat. Received: 8 8"),
        (["--variant", "fast", "--learning-rate 3"], "--variant fast: unrecognized arguments: --learning-rate 3"),
        (["--variant", "long", "--epochs 0"], "--variant long: argument --epochs: 0 is not a positive integer"),
        (["--variant", "early", "--evaluate-on test"], "unrecognized arguments: --evaluate-on test"),
        (
            ["--depths", 8, 20],
            "run ekd_8-14_seed0 with depths [8, 14], which does not compare with the [8, 20]",
        ),
        (["--depths", 8, 15], "--depths must be among 8, 14, 20"),
    ],
)
def test_mistakes(comparison, mistake, changed, sentence):
    output, _, _ = comparison
    before = (output / "results.json").read_bytes()
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", output]
    assert sentence in mistake("recipes/study/compare.py", *flags, *changed)
    assert (output / "results.json").read_bytes() == before


def test_a_screening_is_left_alone(mistake, tmp_path):
    published = ROOT / "recipes/results/cifar10_screening"
    for name in ("results.json", "table.md"):
        shutil.copy(published / name, tmp_path)
    before = (tmp_path / "table.md").read_bytes()
    sentence = mistake("recipes/study/compare.py", *SETTINGS, "--methods", "joint", "--seeds", 0, "--output", tmp_path)
    assert f"--output {tmp_path} holds a screening, which screen.py goes on with: choose another folder." in sentence
    assert (tmp_path / "table.md").read_bytes() == before


def test_a_method_is_the_same_with_all_seeds(comparison, mistake, tmp_path):
    records = json.loads((comparison[0] / "results.json").read_text())
    (ekd,) = [record for record in records["runs"] if record["method"] == "ekd"]
    ekd.update(name="hot_8-14_seed1", method="hot", seed=1)
    ekd["arguments"].update(temperature=2.0, epochs=3, seed=1)
    (tmp_path / "results.json").write_text(json.dumps(records))
    flags = [*SETTINGS, "--methods", "alone", "--seeds", 0, "--output", tmp_path, "--variant", "hot"]
    sentence = "holds the run hot_8-14_seed1 with {}, which does not compare with the {} of hot_8-14_seed0"
    for changed, found in [
        ("--epochs 3 --temperature 3", ("temperature 2.0", "3.0")),
        # Its epochs may be others than a method's, and not than its own.
        ("--epochs 4 --temperature 2", ("epochs 3", "4")),
        ("--temperature 2", ("epochs 3", "2")),
    ]:
        assert sentence.format(*found) in mistake("recipes/study/compare.py", *flags, changed)


@pytest.mark.slow
def test_images_of_the_same_name_are_not_taken_for_the_same(comparison, main, mistake, tmp_path):
    """Records keep a data set's name without its folder."""
    random = np.random.default_rng(0)
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        images = {f"x_{split}": random.integers(0, 256, (100, 8, 8, 1), "uint8") for split in ("train", "test")}
        labels = {f"y_{split}": random.integers(0, 10, 100) for split in ("train", "test")}
        np.savez(tmp_path / folder / "data.npz", **images, **labels)
    # The same labels, other pixels.
    (tmp_path / "darker").mkdir()
    images = {name: pixels // 2 for name, pixels in np.load(tmp_path / "one/data.npz").items() if name.startswith("x")}
    labels = {name: values for name, values in np.load(tmp_path / "one/data.npz").items() if name.startswith("y")}
    np.savez(tmp_path / "darker" / "data.npz", **images, **labels)
    flags = [*SETTINGS, "--train-images", 80, "--batch-size", 40, "--epochs", 1, "--methods", "joint", "--seeds", 0]
    flags += ["--output", tmp_path / "output", "--dataset"]
    code, _, errors = main("recipes/study/compare.py", *flags, f"npz:{tmp_path}/one/data.npz")
    assert code == 0, errors
    for folder in ("other", "darker"):
        sentence = mistake("recipes/study/compare.py", *flags, f"npz:{tmp_path}/{folder}/data.npz")
        assert f"/{folder}/data.npz has other images than the run joint_8-14_seed0 in" in sentence
    # Nor is a run that was begun with one gone on with, with the other.
    (tmp_path / "output" / "results.json").unlink()
    sentence = mistake("recipes/study/compare.py", *flags, f"npz:{tmp_path}/other/data.npz")
    assert "joint_8-14_seed0 failed: train.py: --dataset npz:" in sentence


def test_a_run_that_was_begun_with_other_settings_is_not_gone_on_with(comparison, mistake, tmp_path):
    output, _, _ = comparison
    begun = tmp_path / "begun" / "runs" / "ekd_8-14_seed0"
    begun.mkdir(parents=True)
    shutil.copy(output / "runs" / "ekd_8-14_seed0" / "config.json", begun)
    flags = [*SETTINGS, "--methods", "ekd", "--seeds", 0, "--output", tmp_path / "begun", "--epochs", 7]
    assert "holds the run ekd_8-14_seed0 with epochs 2, which does not compare with the 7" in mistake(
        "recipes/study/compare.py", *flags
    )


def test_runs_of_another_backend_do_not_compare(comparison, mistake, tmp_path):
    records = json.loads((comparison[0] / "results.json").read_text())
    records["runs"][0]["backend"] = "jax"
    (tmp_path / "results.json").write_text(json.dumps(records))
    sentence = mistake("recipes/study/compare.py", *SETTINGS, "--seeds", 0, "--output", tmp_path)
    assert "with backend jax, which does not compare with the tensorflow of" in sentence


def test_two_at_a_time_are_refused(comparison, mistake):
    output, _, _ = comparison
    with filelock.FileLock(output / ".lock"):
        sentence = mistake("recipes/study/compare.py", *SETTINGS, "--output", output)
    assert f"{output} is being written by another process." in sentence


def test_a_failed_training_is_named(mistake, tmp_path):
    flags = [*SETTINGS, "--methods", "joint", "--batch-size", 100_000, "--seeds", 3, "--output", tmp_path / "failed"]
    sentence = mistake("recipes/study/compare.py", *flags)
    assert "joint_8-14_seed3 failed: train.py: --batch-size must be from 1 to 400" in sentence


@pytest.mark.slow
def test_what_others_trained_is_kept_when_a_training_fails(comparison, mistake, tmp_path):
    output = tmp_path / "half"
    broken = output / "runs" / "joint_8-14_seed0"
    shutil.copytree(comparison[0] / "runs" / "ekd_8-14_seed0", broken)
    config = json.loads((broken / "config.json").read_text())
    config["arguments"]["distillation"] = "none"
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.keras").write_text("no network")
    flags = [*SETTINGS, "--methods", "joint", "ekd", "--seeds", 0, "--jobs", 2, "--output", output]
    assert "joint_8-14_seed0 failed: train.py: " in mistake("recipes/study/compare.py", *flags)
    assert list(results(output)) == ["ekd_8-14_seed0"]


def test_a_training_that_a_signal_ended_is_named():
    process = subprocess.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], stderr=subprocess.PIPE)
    assert reason(process) == "ended by signal 9, Killed"


@pytest.mark.parametrize("recipe", ["compare", "screen"])
def test_a_gpu_has_memory_for_several_trainings(recipe):
    pytest.importorskip("jax")
    code = f"""import os
import {recipe}
from jax._src.xla_bridge import backends_are_initialized

assert not backends_are_initialized()  # afterwards, it would be too late
print(os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"], os.environ["TF_FORCE_GPU_ALLOW_GROWTH"])
"""
    ours = {"XLA_PYTHON_CLIENT_PREALLOCATE", "TF_FORCE_GPU_ALLOW_GROWTH"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["KERAS_BACKEND"] = "jax"
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=ROOT / "recipes/study", env=environment, capture_output=True, text=True)
    assert finished.stdout.split() == ["false", "true"], finished.stderr


def test_the_test_split_needs_the_networks(comparison, mistake, tmp_path):
    shutil.copy(comparison[0] / "results.json", tmp_path)
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", tmp_path]
    sentence = mistake("recipes/study/compare.py", *flags, "--test")
    assert "--test needs the network of alone_14_seed0, and there is no " in sentence


@pytest.mark.slow
def test_a_network_that_is_damaged_is_named_by_the_test_split(comparison, mistake, tmp_path):
    output = shutil.copytree(comparison[0], tmp_path / "digits")
    before = results(output)
    (output / "runs" / "ekd_8-14_seed0" / "model.keras").write_text("no network")
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--jobs", 2, "--output", output]
    sentence = mistake("recipes/study/compare.py", *flags, "--test")
    assert re.search(r"ekd_8-14_seed0/model.keras is not a whole Keras model file", sentence)
    after = results(output)
    assert "test" not in after["ekd_8-14_seed0"]
    for run in after.values():
        run.pop("test", None)
    assert after == before


@pytest.mark.slow
def test_a_test_whose_process_is_killed_says_so(comparison, tmp_path):
    output = shutil.copytree(comparison[0], tmp_path / "digits")
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", output, "--test"]
    command = [sys.executable, ROOT / "recipes/study/compare.py", *map(str, flags)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        testing = []
        while not testing:
            assert process.poll() is None
            time.sleep(0.05)
            children = psutil.Process(process.pid).children()
            testing = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        testing[0].kill()
        errors = process.stderr.read()
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("compare.py: --test lost one of its processes: ")


def test_a_data_set_that_is_missing_is_named_before_any_training(mistake, tmp_path):
    flags = [*SETTINGS, "--dataset", "npz:/no/such/file.npz", "--output", tmp_path / "missing"]
    assert "/no/such/file.npz" in mistake("recipes/study/compare.py", *flags)
    assert not (tmp_path / "missing").exists()
