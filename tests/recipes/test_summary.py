"""recipes/summary.py on a run without files. tests/test_pages.py looks at the demo's, with files."""

import shutil


def test_a_run_without_files(printed, finished_run, mistake, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    shown = printed("recipes/summary.py", "--run", tmp_path / "run")
    rows = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert rows == ["10", "18"]
    command = f"Next: python export/to_tflite.py --depth all --model {tmp_path}/run/model.keras"
    assert shown.splitlines()[-1] == command
    (tmp_path / "run/metrics.json").unlink()
    assert "--run must be a finished run" in mistake("recipes/summary.py", "--run", tmp_path / "run")


def test_files_that_were_made_in_different_ways_have_columns_of_their_own(printed, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "run")
    printed("export/to_tflite.py", "--model", tmp_path / "run/model.keras", "--depth", 10)
    folder = tmp_path / "run/tflite"
    shutil.copy(folder / "depth_10.tflite", folder / "depth_10_prune.tflite")
    shown = printed("recipes/summary.py", "--run", tmp_path / "run").splitlines()
    (accuracies,) = (line.count("%") for line in shown if line.startswith("│ 10 "))
    assert accuracies == 3  # of the network, of the file and of the pruned one
