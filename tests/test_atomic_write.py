import pytest

from ddnn_keras.atomic_write import atomic_write


def test_the_file_appears_when_the_body_ends(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.name == path.name
    assert path.read_text() == "whole"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="check failed"), atomic_write(path) as temporary:
        temporary.write_text("new")
        raise RuntimeError("check failed")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
