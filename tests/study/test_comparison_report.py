import numpy as np
from comparison_report import picture, table, write
from matplotlib.image import imread


def record(method, seed, split="validation", **accuracies):
    metrics = {f"depth_{depth[1:]}": {"accuracy": value, "macs": int(depth[1:])} for depth, value in accuracies.items()}
    return {"name": f"{method}_{seed}_{list(accuracies)}", "method": method, "seed": seed, "validation": metrics}


def records():
    found = []
    for seed, (alone, gain) in enumerate([(0.80, 0.01), (0.82, 0.02), (0.84, 0.03)]):
        found += [record("alone", seed, d8=alone), record("alone", seed, d14=alone + 0.05)]
        found += [record("ekd", seed, d8=alone + gain, d14=alone + 0.04)]
    return found


def test_the_table():
    lines = table(records()).splitlines()
    assert "validation split" in lines[0]
    assert lines[-4:] == [
        "| 8 | alone | 3 | 82.00 ± 2.00 |  |  |  |",
        "| 8 | ekd | 3 | 84.00 ± 3.00 | +2.00 [-0.48, +4.48] | -11.1% |  |",
        "| 14 | alone | 3 | 87.00 ± 2.00 |  |  |  |",
        "| 14 | ekd | 3 | 86.00 ± 2.00 | -1.00 [-1.00, -1.00] | +7.7% |  |",
    ]


def test_errors_are_compared_over_the_same_seeds():
    found = [record("alone", 0, d8=0.5), record("alone", 1, d8=0.9), record("ekd", 0, d8=0.6)]
    assert "| 8 | ekd | 1 | 60.00 | +10.00 | -20.0% |  |" in table(found)
    found = [record("alone", 0, d8=1.0), record("ekd", 0, d8=0.9)]
    assert "| 8 | ekd | 1 | 90.00 | -10.00 |  |  |" in table(found)


def test_the_test_split_is_shown_once_every_run_has_been_on_it():
    found = records()
    for each in found[:-1]:
        each["test"] = {key: {**row, "accuracy": 0.5} for key, row in each["validation"].items()}
    assert "validation split" in table(found)
    found[-1]["test"] = {key: {**row, "accuracy": 0.5} for key, row in found[-1]["validation"].items()}
    assert "test split" in table(found)
    assert "| 8 | ekd | 3 | 50.00 ± 0.00 | +0.00 [+0.00, +0.00] | +0.0% |  |" in table(found)


def test_methods_of_ones_own_come_last():
    found = [record(method, 0, d8=0.5) for method in ("zebra", "ekd", "another", "alone", "joint")]
    shown = [line.split(" | ")[1] for line in table(found).splitlines()[-5:]]
    assert shown == ["alone", "joint", "ekd", "another", "zebra"]


def test_the_picture_shows_means_and_their_standard_errors(tmp_path):
    write(records(), tmp_path)
    assert (tmp_path / "table.md").read_text() == table(records())
    assert imread(tmp_path / "accuracy.png").shape == (600, 1080, 4)
    (axes,) = picture([*records(), record("once", 0, d8=0.5, d14=0.6)]).axes
    alone, ekd, once = axes.containers
    labels = [container.get_label() for container in axes.containers]
    assert labels == ["alone, seeds: 3", "ekd, seeds: 3", "once, seeds: 1"]
    for container, means, error in ((alone, [82, 87], 2), (ekd, [84, 86], None), (once, [50, 60], None)):
        line, _, (bars,) = container
        np.testing.assert_allclose(line.get_xydata()[:, 1], means)
        np.testing.assert_allclose(line.get_xydata()[:, 0] * 1e6, [8, 14])
        if error is not None:
            low, high = np.array(bars.get_segments())[0, :, 1]
            np.testing.assert_allclose([low, high], [means[0] - error / 3**0.5, means[0] + error / 3**0.5])
