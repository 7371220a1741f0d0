"""A run directory of commit b3ec931 goes on: resumed, exported, fine-tuned."""

import json
import shutil

import pytest
from conftest import ROOT

from ddnn_keras.runs.run_directory import RunDirectory


@pytest.mark.slow
def test_it_is_resumed_exported_and_fine_tuned(printed, tmp_path):
    run = shutil.copytree(ROOT / "tests/files_of_before/run", tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["arguments"]["epochs"] = 3  # one more than it has
    (run / "config.json").write_text(json.dumps(config))
    before = RunDirectory(run).read_history()
    printed("recipes/train.py", "--resume", run)
    after = RunDirectory(run).read_history()
    assert after[:2] == before and len(after) == 3
    assert after[2]["loss"] < before[1]["loss"]
    shown = printed("export/to_tflite.py", "--model", run / "model.keras", "--depth", "all")
    assert shown.count("Verified: ") == 2
    printed("recipes/finetune_qat.py", "--run", run, "--epochs", 1)
    assert RunDirectory(run.with_name("run_qat")).metrics.exists()
