"""recipes/study/forest_plot.py, against figures worked out by hand."""

import json

import pytest
from matplotlib.image import imread
from test_comparison_report import record

SETTINGS = {"dataset": "digits", "train_images": None, "width": None, "precision": "float32", "epochs": 20}
SETTINGS["backbone"] = "resnet_cifar"
OTHER_SETTINGS = {"train_images": 1000, "width": 4, "precision": "mixed_bfloat16", "epochs": 5}


def comparison(folder, records, tested=False, **settings):
    for one in records:
        one["arguments"] = SETTINGS | settings
        if tested:
            one["test"] = one["validation"]
    folder.mkdir()
    (folder / "results.json").write_text(json.dumps({"runs": records}))
    return folder


@pytest.fixture
def folders(tmp_path):
    """One comparison of two depths and three seeds, one of the shallower depth alone, and one without a baseline."""
    one = [record("alone", seed, d8=0.80) for seed in range(3)] + [record("alone", seed, d14=0.90) for seed in range(3)]
    one += [record("ekd", seed, d8=0.81 + seed / 100, d14=0.90) for seed in range(3)]
    # Seeds without a counterpart.
    one += [record("alone", 3, d8=0.1), record("ekd", 4, d8=0.2, d14=0.2)]
    other = [record("alone", 0, d8=0.30), record("ekd", 0, d8=0.25)]
    neither = [record("joint", 0, d8=0.30), record("ekd", 0, d8=0.25), record("longer", 0, d8=0.35)]
    return [
        comparison(tmp_path / "one", one),
        comparison(tmp_path / "other", other, tested=True, **OTHER_SETTINGS),
        comparison(tmp_path / "neither", neither),
    ]


def test_a_line_for_each_comparison(printed, folders):
    shown = printed("recipes/study/forest_plot.py", *folders)
    # Gains 1, 2, 3: Student's t of 2 degrees of freedom at 97.5 % is 4.30265, the standard error 1 / sqrt(3).
    assert shown.splitlines() == [
        "| data set | images | width | precision | epochs | split | seeds | depth 8 | depth 14 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| digits | all | 16 | float32 | 20 | validation | 3 | +2.00 [-0.48, +4.48] | +0.00 [+0.00, +0.00] |",
        "| digits | 1,000 | 4 | mixed_bfloat16 | 5 | test | 1 | -5.00 |  |",
    ]


def test_a_variant_that_was_trained_for_longer(printed, folders):
    path = folders[2] / "results.json"
    runs = json.loads(path.read_text())["runs"]
    runs[2]["arguments"]["epochs"] = 28
    path.write_text(json.dumps({"runs": runs}))
    shown = printed("recipes/study/forest_plot.py", *folders, "--method", "longer", "--baseline", "joint")
    assert shown.splitlines()[2:] == ["| digits | all | 16 | float32 | 20 and 28 | validation | 1 | +5.00 |"]


def test_the_picture(printed, folders, tmp_path):
    printed("recipes/study/forest_plot.py", *folders, "--output", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gains.png"]
    pixels = imread(tmp_path / "out" / "gains.png")[..., :3]
    # Matplotlib's first two colours: each depth's intervals.
    for colour in [(31, 119, 180), (255, 127, 14)]:
        assert (abs(255 * pixels - colour).max(axis=-1) < 2).sum() > 100


def test_mistakes(mistake, folders):
    sentence = mistake("recipes/study/forest_plot.py", *folders, "--method", "alone")
    assert "--method and --baseline must be methods of one comparison. Received: alone and alone" in sentence
