"""recipes/pareto.py: many combinations from one small training."""

import itertools
import json

import pytest

from ddnn_keras import DDNN
from ddnn_keras.cost import count_macs

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("run")

SCRIPT = "recipes/pareto.py"


def test_every_combination_of_a_run(finished_run, main, tmp_path):
    output = tmp_path / "pareto"
    flags = ["--run", finished_run, "--combinations", 6, "--calibration-images", 100, "--output", output]
    code, printed, errors = main(SCRIPT, *flags)
    assert code == 0, errors
    content = json.loads(output.with_suffix(".json").read_text())
    assert (content["run"], content["split"]) == ("digits", "validation")
    points = {tuple(point["blocks"]): point for point in content["points"]}
    assert 4 <= len(points) <= 6
    assert {blocks for blocks, point in points.items() if point["trained"]} == {(1, 1, 1, 1), (2, 2, 2, 2)}
    between = set(itertools.product((1, 2), repeat=4))
    assert points.keys() <= between
    alone = DDNN((18,), width=4, input_shape=(16, 16, 1)).subnet(18)
    assert points[2, 2, 2, 2]["macs"] == count_macs(alone)
    for point in points.values():
        dearer = [other for other in points.values() if other["macs"] <= point["macs"]]
        assert point["best_at_its_cost"] == (point["accuracy"] >= max(other["accuracy"] for other in dearer))
    assert output.with_suffix(".png").stat().st_size > 5_000
    assert f"{points[2, 2, 2, 2]['accuracy']:.2%}" in printed


def test_mistakes(mistake, finished_run, tmp_path):
    assert "holds no run" in mistake(SCRIPT, "--run", tmp_path)
    assert "0 is not a positive integer" in mistake(SCRIPT, "--run", finished_run, "--combinations", 0)
