"""recipes/summary.py on a run without files. tests/test_pages.py looks at the demo's, with files."""

import shutil


def test_a_run_without_files(printed, copied_run, mistake):
    run = copied_run()
    shown = printed("recipes/summary.py", "--run", run)
    rows = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│")]
    assert rows == ["10", "18"]
    command = f"Next: python export/to_tflite.py --depth all --model {run}/model.keras"
    assert shown.splitlines()[-1] == command
    (run / "metrics.json").unlink()
    assert "--run must be a finished run" in mistake("recipes/summary.py", "--run", run)


def test_files_that_were_made_in_different_ways_have_columns_of_their_own(printed, copied_run):
    run = copied_run()
    printed("export/to_tflite.py", "--model", run / "model.keras", "--depth", 10)
    folder = run / "tflite"
    shutil.copy(folder / "depth_10.tflite", folder / "depth_10_prune.tflite")
    shown = printed("recipes/summary.py", "--run", run).splitlines()
    (accuracies,) = (line.count("%") for line in shown if line.startswith("│ 10 "))
    assert accuracies == 3  # of the network, of the file and of the pruned one
