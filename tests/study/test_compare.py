import json
import os
import re
import shlex
import shutil

import compare
import keras
import pytest
from comparison_records import portable, read_records
from conftest import ROOT

from ddnn_keras.runs.arguments import with_absolute_paths
from ddnn_keras.runs.run_directory import RunDirectory

SCRIPT = "recipes/study/compare.py"
COMMAND = r"^(?:KERAS_BACKEND=(\w+) )?python recipes/study/compare.py (.*)$"
PAGES = sorted((ROOT / "recipes/results").glob("**/README.md"))
PUBLISHED = [found for page in PAGES for found in re.findall(COMMAND, page.read_text(), re.MULTILINE)]
assert len(PUBLISHED) >= 16

# The published setting, reduced to what takes seconds.
SETTINGS = shlex.split("--train-images 400 --backbone resnet_cifar --depths 8 14 --stem strided --width 2 --epochs 2")
SETTINGS += ["--warmup-epochs", "0", "--batch-size", "100"]


@pytest.mark.parametrize(("backend", "command"), PUBLISHED, ids=lambda text: text.split("/")[-1] or "tensorflow")
def test_published_commands_make_the_published_runs(backend, command, monkeypatch):
    """Which runs they would make, and with what: nothing that the records contradict."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend or "tensorflow")
    flags = shlex.split(command.replace("ARCHIVES", "."))
    arguments = compare.parser.parse_args(flags)
    records = read_records(ROOT / arguments.output)
    runs = compare.plan(with_absolute_paths(arguments))
    # Variants may have a command of their own.
    of_the_command = {record["name"] for record in records if record["method"] in compare.METHODS}
    assert of_the_command and of_the_command <= {run.name for run in runs}
    compare.check_records(records, runs, arguments.output)


def test_the_longest_runs_come_first_within_a_seed():
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--variant", "hot", "--temperature 2", "--seeds", "1", "0"]
    runs = compare.plan(compare.parser.parse_args([*flags, "--output", "x"]))
    order = ["ekd_8-14", "hot_8-14", "alone_14", "alone_8"]
    assert [run.name for run in runs] == [f"{name}_seed{seed}" for seed in (1, 0) for name in order]
    ekd, _, alone, _ = (run.arguments for run in runs[:4])
    assert {name for name in ekd if ekd[name] != alone[name]} == {"depths", "distillation"}


def test_records_do_not_say_where_things_are_on_a_machine():
    arguments = {"dataset": "npz:/home/digits.npz", "data_dir": "/data", "seed": 1, "output": "/x"}
    assert portable(arguments) == {"dataset": "npz:digits.npz", "seed": 1}
    assert portable({"dataset": "mnist:3.0.1"}) == {"dataset": "mnist:3.0.1"}


def results(output):
    return {run["name"]: run for run in json.loads((output / "results.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def comparison(script, tmp_path_factory):
    """A comparison that was stopped before it had recorded its first run, and went on; and what it printed."""
    output = tmp_path_factory.mktemp("comparison") / "digits"
    flags = [*SETTINGS, "--seeds", "0", "--methods", "alone", "ekd", "--jobs", "2", "--output", str(output)]
    first, *_ = compare.plan(compare.parser.parse_args(flags))
    script("recipes/train.py", *first.flags, "--output", output / "runs" / first.name)
    return output, script(SCRIPT, *flags).stdout


@pytest.fixture
def mistaken(comparison, mistake):
    """The sentence that the comparison answers other flags with."""

    def run(*changed, output=comparison[0]):
        flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", output]
        return mistake(SCRIPT, *flags, *changed)

    return run


@pytest.fixture
def copied(comparison, tmp_path):
    """A folder with the comparison's records, which `change` may change, and without its networks."""

    def copy(change):
        content = json.loads((comparison[0] / "results.json").read_text())
        change({run["name"]: run for run in content["runs"]})
        (tmp_path / "results.json").write_text(json.dumps(content))
        return tmp_path

    return copy


@pytest.mark.slow
def test_a_stopped_comparison_goes_on_where_it_was(comparison):
    output, printed = comparison
    assert "0 of 3 runs are done." in printed
    found = results(output)
    assert {name: run["resumed"] for name, run in found.items()} == {
        "alone_14_seed0": False,
        "alone_8_seed0": False,
        "ekd_8-14_seed0": True,
    }
    assert all(run["seconds"] > 0 for run in found.values())
    assert printed.endswith((output / "table.md").read_text() + "\n")
    assert (output / "accuracy.png").stat().st_size > 10_000


@pytest.mark.slow
def test_records_say_how_a_run_was_made(comparison):
    run = results(comparison[0])["ekd_8-14_seed0"]
    assert run["arguments"]["train_images"] == 400 and run["arguments"]["depths"] == [8, 14]
    assert run["arguments"]["kl_weight"] == 1.0 and "data_dir" not in run["arguments"]
    assert run["threads"] == int(os.environ.get("TF_NUM_INTRAOP_THREADS", max(1, os.cpu_count() // 2)))
    assert set(run["versions"]) >= {"keras", "tensorflow", "ddnn_keras"}
    config = json.loads((comparison[0] / "runs/ekd_8-14_seed0/config.json").read_text())
    assert run["processor"] == config["processor"] and run["revision"] == config["revision"]
    assert set(run["validation"]) == {"depth_8", "depth_14"}
    assert "test" not in run
    for name, prefix in [("ekd_8-14_seed0", "depth_8_"), ("alone_8_seed0", "")]:
        *_, last = RunDirectory(comparison[0] / "runs" / name).read_history()
        expected = {metric: last[prefix + metric] for metric in ("accuracy", "loss")}
        assert results(comparison[0])[name]["train"]["depth_8"] == expected


@pytest.mark.slow
def test_no_run_is_made_twice_and_the_test_split_comes_last(printed, comparison, tmp_path):
    output = shutil.copytree(comparison[0], tmp_path / "digits")
    flags = [*SETTINGS, "--methods", "alone", "ekd", "--seeds", 0, "--output", output, "--test"]
    shown = printed(SCRIPT, *flags)
    assert "3 of 3 runs are done." in shown and "Accuracy on the test split" in shown
    after = results(output)
    for run in after.values():
        assert set(run.pop("test")) == set(run["validation"])
    assert after == results(comparison[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (["--epochs", 3], "holds the run alone_14_seed0 with epochs 2, which does not compare with the 3 of"),
        (["--depths", 8, 20], "run ekd_8-14_seed0 with depths [8, 14], which does not compare with the [8, 20]"),
        (["--depths", 8], "--depths must be 2 or more: nothing teaches one alone. Received: 8"),
        (["--variant", "ekd", ""], "--variant must have a new name each time, and not a method's. Received: ekd"),
        (["--variant", "a", "", "--variant", "a", ""], "--variant must have a new name each time"),
        (["--variant", "hot", "--temperature x"], "x is not a number of 0 or more"),
        (["--variant", "hot", "--temperature 0"], "must be a positive number"),
        (["--variant", "cold", "--distillation none --kl-weight 3"], "--variant cold must not set --kl-weight, which"),
        (["--variant", "fast", "--learning-rate 3"], "--variant fast: unrecognized arguments: --learning-rate 3"),
        (["--dataset", "npz:/no/such/file.npz"], "/no/such/file.npz"),
    ],
)
def test_mistakes(comparison, mistaken, changed, sentence):
    before = (comparison[0] / "results.json").read_bytes()
    assert sentence in mistaken(*changed)
    assert (comparison[0] / "results.json").read_bytes() == before


@pytest.mark.slow
def test_a_variant_is_the_same_with_all_seeds(copied, mistaken):
    def change(runs):
        ekd = runs["ekd_8-14_seed0"]
        ekd.update(name="hot_8-14_seed1", method="hot", seed=1)
        ekd["arguments"].update(temperature=2.0, epochs=3, seed=1)

    output = copied(change)
    sentence = "holds the run hot_8-14_seed1 with {}, which does not compare with the {} of hot_8-14_seed0"
    for flags, found in [
        ("--epochs 3 --temperature 3", ("temperature 2.0", "3.0")),
        # Its epochs may differ from a method's, and not from its own.
        ("--temperature 2", ("epochs 3", "2")),
    ]:
        assert sentence.format(*found) in mistaken("--variant", "hot", flags, output=output)


@pytest.mark.slow
def test_runs_of_another_backend_or_of_other_images_do_not_compare(copied, mistaken):
    output = copied(lambda runs: runs["alone_14_seed0"].update(backend="jax"))
    assert "with backend jax, which does not compare with the tensorflow of" in mistaken(output=output)
    output = copied(lambda runs: runs["alone_8_seed0"]["data"].update(mean_pixel=1.0))
    assert "digits has other images than the run alone_8_seed0 in" in mistaken(output=output)


@pytest.mark.slow
def test_the_test_split_needs_the_networks(copied, mistaken):
    output = copied(lambda runs: [run.pop("test", None) for run in runs.values()])
    sentence = mistaken("--test", output=output)
    assert sentence.endswith(f"There is no model file {output}/runs/alone_14_seed0/model.keras.")


@pytest.mark.slow
def test_a_failed_training_is_named(mistaken, tmp_path):
    sentence = mistaken("--methods", "joint", "--batch-size", 100_000, output=tmp_path / "failed")
    assert "joint_8-14_seed0 failed: train.py: --batch-size must be from 1 to 400" in sentence
