import os

import pytest

from ddnn_keras.runs.run_directory import RunDirectory


def test_the_newest_run_is_the_one_whose_model_changed_last(tmp_path):
    for seconds, name in enumerate(["b", "a", "no_run", "without_model"]):
        (tmp_path / name).mkdir()
        if name != "no_run":
            (tmp_path / name / "config.json").write_text("{}")
        if name != "without_model":
            (tmp_path / name / "model.keras").write_bytes(b"")
            os.utime(tmp_path / name / "model.keras", (1000 + seconds, 1000 + seconds))
    assert RunDirectory.newest(tmp_path).path == tmp_path / "a"


def test_no_run_at_all(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No run .*recipes/finetune.py makes one"):
        RunDirectory.newest(tmp_path / "nothing")


def test_a_damaged_config(tmp_path):
    run = RunDirectory(tmp_path)
    for damaged in ('{"arguments": {', "[]"):
        run.config.write_text(damaged)
        with pytest.raises(ValueError, match=r"config.json is damaged"):
            run.read_config()


def test_what_a_kill_left_half_done_is_removed(tmp_path):
    run = RunDirectory(tmp_path)
    run.tidy(0)
    assert run.read_history() == []
    run.history.write_text("epoch,loss\n0,3.5\n1,2.25\n2,1.125\n")
    (tmp_path / ".model.keras.x7f3").mkdir()
    (tmp_path / ".model.keras.x7f3" / "model.keras").write_bytes(b"half")
    (tmp_path / ".own").mkdir()
    run.tidy(2)
    assert run.read_history() == [{"epoch": 0, "loss": 3.5}, {"epoch": 1, "loss": 2.25}]
    assert {path.name for path in tmp_path.iterdir()} == {"history.csv", ".own"}
    run.tidy(0)
    assert run.history.read_text() == "epoch,loss\n"
