"""recipes/study/benchmark_training.py: small true trainings in turns."""

import json

import numpy as np
import pytest
from benchmark_training import argument_parser, growth, macs_of

SCRIPT = "recipes/study/benchmark_training.py"
SMALL = ["--backbone", "resnet_cifar", "--width", 1, "--image-size", 8, "--batch-size", 2, "--steps", 1, "--rounds", 2]


@pytest.mark.slow
def test_routes_to_the_same_networks(script, tmp_path):
    output = tmp_path / "benchmark.json"
    finished = script(SCRIPT, *SMALL, "--depths", 14, 8, "--processes", 1, "--output", output)
    assert finished.returncode == 0, finished.stderr
    report = json.loads(output.read_text())
    assert report["arguments"]["depths"] == [14, 8] and "output" not in report["arguments"]
    seconds = {name: np.array(rounds) for name, rounds in report["seconds, of all processors"].items()}
    assert {rounds.shape for rounds in seconds.values()} == {(1, 2, 2)}
    rows = {row["route"]: row for row in report["rows"]}
    assert list(rows) == [
        "each alone",
        "jointly, cross-entropy",
        "jointly, EKD",
        "full-net, then Distiller",
        "8 alone",
        "14 alone",
        "8 with Distiller",
    ]
    assert min(row["memory"] for row in rows.values()) > 0
    alone, joint, ekd, distiller = (rows[route] for route in list(rows)[:4])
    assert (alone["relative"], alone["floor"]) == (1, 1)
    assert alone["seconds"] > max(rows["8 alone"]["seconds"], rows["14 alone"]["seconds"])
    # A step takes three passes; the Distiller's teacher takes one more.
    assert alone["macs"] == rows["8 alone"]["macs"] + rows["14 alone"]["macs"]
    assert distiller["macs"] == pytest.approx(alone["macs"] + rows["14 alone"]["macs"] / 3)
    assert rows["14 alone"]["macs"] < joint["macs"] == ekd["macs"] < alone["macs"]
    assert joint["floor"] == joint["macs"] / alone["macs"]
    for row in [*report["rows"], *report["pairs"]]:
        assert row["quartiles"][0] <= row["relative"] <= row["quartiles"][1]
    over_joint, over_distiller = report["pairs"]
    assert over_joint["floor"] == 1
    assert over_distiller["floor"] == pytest.approx(ekd["macs"] / distiller["macs"])
    assert len(over_joint["processes"]) == 1
    ratios = seconds["jointly, EKD"] / seconds["jointly, cross-entropy"]
    clock, processor = np.median(ratios, axis=(0, 1))
    assert over_joint["processes"] == pytest.approx(np.median(ratios, axis=1)[:, 0].tolist())
    assert over_joint["relative"] == pytest.approx(clock)
    assert over_joint["processor time, relative"] == pytest.approx(processor)
    assert f"jointly, EKD / jointly, cross-entropy: {clock:.3f} [" in finished.stdout
    assert f"CPU {processor:.2f}, floor 1.000" in finished.stdout


def test_cost_grows_with_the_number_of_depths():
    flags = ["--backbone", "resnet_cifar", "--depths", "20", "14", "--width", "4", "--image-size", "16"]
    arguments = argument_parser().parse_args(flags)
    trainings, routes = growth(arguments)
    assert routes == {"20": ["20"], "14 20": ["14 20"]}
    alone, both = (macs_of(arguments, trainings[name]) for name in routes)
    # Depth 14 parts from 20 after two blocks of the first stage: four blocks more than the nine of 20. Two of the four
    # halve the resolution and cost less than the others.
    assert both / alone == pytest.approx(1.4, abs=0.02)


def test_mistakes(mistake, tmp_path):
    sentence = mistake(SCRIPT, *SMALL, "--depths", 8, "--output", tmp_path)
    assert "--output must be a name for a file, not a folder. Received: " in sentence
    assert "--depths must be among 8" in mistake(SCRIPT, *SMALL, "--depths", 9)
