"""The figures of a comparison, against ones worked out by hand."""

import math

import numpy as np
import pytest
from comparison_report import pairs, picture, table, write
from intervals import mean_gain
from matplotlib.image import imread


def record(method, seed, split="validation", **accuracies):
    metrics = {f"depth_{depth[1:]}": {"accuracy": value, "macs": int(depth[1:])} for depth, value in accuracies.items()}
    return {"name": f"{method}_{seed}_{list(accuracies)}", "method": method, "seed": seed, "validation": metrics}


def records():
    """Three seeds, two depths."""
    found = []
    for seed, (alone, gain) in enumerate([(0.80, 0.01), (0.82, 0.02), (0.84, 0.03)]):
        found += [record("alone", seed, d8=alone), record("alone", seed, d14=alone + 0.05)]
        found += [record("ekd", seed, d8=alone + gain, d14=alone + 0.04)]
    return found


def test_a_mean_with_its_interval():
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), Student's t of 2 degrees of freedom at 97.5 % 4.30265.
    gain = mean_gain([(11.0, 10.0, 0), (22.0, 20.0, 1), (33.0, 30.0, 2)])
    assert (gain.mean, gain.high - gain.mean) == pytest.approx((2, 4.30265 / math.sqrt(3)), rel=1e-5)
    assert str(gain) == "+2.00 [-0.48, +4.48]"
    assert str(mean_gain([(1.5, 0.0, 7)])) == "+1.50"


def test_each_seed_of_several_comparisons_is_one_observation():
    # The interval is that of the means of each seed's differences, 2 and 5, however many pairs a seed has.
    means = mean_gain([(2.0, 0.0, 4), (5.0, 0.0, 9)])
    assert mean_gain([(1.0, 0.0, 4), (3.0, 0.0, 4), (4.0, 0.0, 9), (6.0, 0.0, 9)]) == means
    assert mean_gain([(1.0, 0.0, 4), (3.0, 0.0, 4), (5.0, 0.0, 9)]) == means
    assert str(mean_gain([(1.0, 0.0, 4), (3.0, 0.0, 4)])) == "+2.00"


def test_runs_are_paired_by_seed():
    grouped = {("alone", "depth_8"): {0: 80.0, 1: 90.0, 2: 70.0}, ("ekd", "depth_8"): {1: 91.0, 0: 82.0, 5: 0.0}}
    assert pairs(grouped, "ekd", "depth_8", "alone") == [(82.0, 80.0, 0), (91.0, 90.0, 1)]
    assert pairs(grouped, "ekd", "depth_8", "joint") == pairs(grouped, "alone", "depth_8", "alone") == []


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
    assert labels == ["alone, 3 seeds", "ekd, 3 seeds", "once, 1 seed"]
    for container, means, error in ((alone, [82, 87], 2), (ekd, [84, 86], None), (once, [50, 60], 0)):
        line, _, (bars,) = container
        np.testing.assert_allclose(line.get_xydata()[:, 1], means)
        np.testing.assert_allclose(line.get_xydata()[:, 0] * 1e6, [8, 14], rtol=0.02)
        if error is not None:
            low, high = np.array(bars.get_segments())[0, :, 1]
            np.testing.assert_allclose([low, high], [means[0] - error / 3**0.5, means[0] + error / 3**0.5])
    assert once[0].get_linestyle() == "--"
