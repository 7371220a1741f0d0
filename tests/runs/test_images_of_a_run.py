"""Runs of images that are others by now are neither gone on with nor exported: these may have been learned."""

import json
import shutil

import pytest


@pytest.fixture
def run(finished_run, tmp_path):
    """A finished run that had one training image less."""
    shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((finished_run / "config.json").read_text())
    assert config["num_images"] == {"train": 1293, "validation": 144, "test": 360}
    config["num_images"]["train"] -= 1
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    return tmp_path / "run"


@pytest.mark.parametrize(
    "command",
    [
        ["recipes/train.py", "--resume"],
        ["recipes/finetune_qat.py", "--run"],
        ["recipes/study/pareto.py", "--run"],
        ["recipes/study/visualize.py"],
        ["export/to_tflite.py", "--depth", 18, "--model"],
    ],
    ids=lambda command: command[0],
)
def test_a_run_whose_images_are_others_by_now(command, run, mistake):
    sentence = mistake(*command, run / "model.keras" if "--model" in command else run)
    assert f"{run} was trained on images whose num_images was {{'train': 1292," in sentence
    assert "Now it is {'train': 1293," in sentence
    assert not (run / "tflite").exists()
