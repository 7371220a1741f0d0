import shutil

import numpy as np
import pytest
from matplotlib.image import imread
from visualize import attention_rows

from ddnn_keras.runs.run_directory import RunDirectory


@pytest.mark.slow
def test_a_picture_of_two_runs(printed, finished_run, tmp_path):
    shutil.copytree(finished_run, tmp_path / "other")
    pictures = []
    for number in (0, 1):
        picture = tmp_path / f"{number}.png"
        flags = [finished_run, tmp_path / "other", "--image", number, "--output", picture]
        shown = printed("recipes/study/visualize.py", *flags)
        assert f"Picture: {picture}" in shown
        pictures.append(imread(picture))
    # Two runs of two depths, and the image beside four stages.
    assert pictures[0].shape == (4 * 228, 5 * 204, 4)
    assert (pictures[0] != pictures[1]).any()


def test_maps_stand_beside_their_depth(finished_run):
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 1)).astype("float32")
    (label, stages), (full_label, full_stages) = attention_rows(RunDirectory(finished_run), images)
    assert label.endswith("depth 10") and full_label.endswith("depth 18")
    # The full-net agrees with itself; where it has more blocks, a sub-net does not wholly.
    assert [r for maps, r in full_stages if maps[0].size > 1] == pytest.approx([1, 1, 1, 1], abs=1e-3)
    for (maps, r), (full_maps, _) in zip(stages, full_stages):
        pearson = np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(maps, full_maps)])
        assert r == pytest.approx(pearson, abs=1e-3) and r < 0.999


def test_mistakes(mistake, finished_run, tmp_path):
    output = ["--output", tmp_path / "picture.png"]
    sentence = mistake("recipes/study/visualize.py", finished_run, "--image", 999, *output)
    assert "--image must be from 0 to 143. Received: 999" in sentence
    assert "holds no run" in mistake("recipes/study/visualize.py", "/no/such/run", *output)
    assert not (tmp_path / "picture.png").exists()
