import itertools
import json

import numpy as np
import pytest
from pareto import combinations, mark_best

from ddnn_keras import DDNN, data
from ddnn_keras.network.cost import count_macs
from ddnn_keras.runs.checkpoint import load_network

SCRIPT = "recipes/study/pareto.py"


def test_every_combination_of_a_run(printed, finished_run, tmp_path):
    output = tmp_path / "pareto"
    flags = ["--run", finished_run, "--combinations", 6, "--calibration-images", 100, "--output", output]
    shown = printed(SCRIPT, *flags)
    content = json.loads(output.with_suffix(".json").read_text())
    assert (content["run"], content["split"]) == ("digits", "validation")
    points = {tuple(point["blocks"]): point for point in content["points"]}
    assert len(points) == 6
    assert {blocks for blocks, point in points.items() if point["trained"]} == {(1, 1, 1, 1), (2, 2, 2, 2)}
    between = set(itertools.product((1, 2), repeat=4))
    assert points.keys() <= between
    alone = DDNN((18,), width=4, input_shape=(16, 16, 1)).subnet(18)
    assert points[2, 2, 2, 2]["macs"] == count_macs(alone)
    best = [point for point in points.values() if point["best_at_its_cost"]]
    assert min(points.values(), key=lambda point: point["macs"]) in best
    assert max(points.values(), key=lambda point: point["accuracy"])["accuracy"] in [p["accuracy"] for p in best]
    # Untrained ones are calibrated, on training images.
    images = data.load("digits", seed=0)
    network = load_network(finished_run / "model.keras")
    pixels, labels = (np.concatenate(part) for part in zip(*images.validation(100)))
    blocks = next(blocks for blocks, point in points.items() if not point["trained"])
    logits = network.calibrate(images.calibration_images(100), blocks).predict(pixels, verbose=0)
    assert points[blocks]["accuracy"] == pytest.approx(np.mean(logits.argmax(-1) == labels), abs=0.01)
    assert output.with_suffix(".png").stat().st_size > 5_000
    assert f"{points[2, 2, 2, 2]['accuracy']:.2%}" in shown


def test_what_is_best_at_its_cost():
    marked = [{"macs": macs, "accuracy": accuracy} for macs, accuracy in ((2, 0.8), (1, 0.7), (3, 0.75), (4, 0.9))]
    mark_best(marked)
    assert [point["best_at_its_cost"] for point in marked] == [True, True, False, True]


def test_few_combinations_and_one_depth():
    network = DDNN((10, 18), width=4)
    trained = [(1, 1, 1, 1), (2, 2, 2, 2)]
    assert combinations(network, 1) == combinations(network, 2) == trained
    assert len(combinations(network, 3)) == 3
    assert len(combinations(network, 99)) == 16
    assert combinations(DDNN((18,), width=4), 30) == trained[1:]


def test_mistakes(mistake, finished_run, tmp_path):
    assert "holds no run" in mistake(SCRIPT, "--run", tmp_path)
    sentence = mistake(SCRIPT, "--run", finished_run, "--output", f"{tmp_path}/")
    assert "--output must be a name for files, not a folder. Received: " in sentence
    assert list(tmp_path.iterdir()) == []
