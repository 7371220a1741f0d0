import json

import numpy as np
import pytest
from benchmark_training import alternatives, compiled, macs_of, parser, print_results, row, seconds_per_step

SCRIPT = "recipes/study/benchmark_training.py"
SMALL = ["--backbone", "resnet_cifar", "--width", "1", "--image-size", "8", "--batch-size", "2"]


@pytest.mark.slow
def test_time_and_memory_of_a_growing_network(script, tmp_path):
    output = tmp_path / "benchmark.json"
    flags = ["--depths", 14, 8, "--growth", "--steps", 1, "--rounds", 2, "--processes", 1, "--output", output]
    printed = script(SCRIPT, *SMALL, *flags).stdout
    report = json.loads(output.read_text())
    assert report["arguments"]["depths"] == [14, 8]
    seconds = {name: np.array(rounds) for name, rounds in report["seconds, of all processors"].items()}
    assert {name: rounds.shape for name, rounds in seconds.items()} == {"14": (1, 2, 2), "8 14": (1, 2, 2)}
    alone, both = report["rows"]
    assert (alone["route"], alone["relative"], alone["floor"]) == ("14", 1, 1)
    assert both["floor"] > 1 and min(alone["memory"], both["memory"]) > 0
    assert both["relative"] == pytest.approx(np.median((seconds["8 14"] / seconds["14"])[..., 0]))
    assert f"{both['floor']:.3f}" in printed


@pytest.mark.slow
def test_routes_to_the_same_networks():
    arguments = parser.parse_args([*SMALL, "--depths", "14", "8"])
    trainings, routes = alternatives(arguments)
    assert routes == {
        "each alone": ["8 alone", "14 alone"],
        "jointly, cross-entropy": ["jointly, cross-entropy"],
        "jointly, EKD": ["jointly, EKD"],
        "full-net, then Distiller": ["14 alone", "8 with Distiller"],
        **{name: [name] for name in ("8 alone", "14 alone", "8 with Distiller")},
    }
    # A step takes three passes; the Distiller's teacher takes one more.
    macs = {name: macs_of(arguments, training) for name, training in trainings.items()}
    assert macs["8 with Distiller"] == pytest.approx(macs["8 alone"] + macs["14 alone"] / 3)
    assert macs["14 alone"] < macs["jointly, EKD"] == macs["jointly, cross-entropy"]
    assert macs["jointly, EKD"] < macs["14 alone"] + macs["8 alone"]
    for name in ("jointly, EKD", "8 with Distiller"):
        assert (seconds_per_step(compiled(arguments, trainings[name]), arguments, steps=1) > 0).all()


def test_what_is_said_of_two_routes(capsys):
    # Two processes of three rounds: seconds by the clock, and of all processors.
    seconds = np.array([[[1, 2], [2, 2], [3, 2]], [[2, 4], [4, 4], [6, 4]]])
    measured = {
        "jointly": {"seconds": seconds, "macs": 30, "memory": 2**20},
        "alone": {"seconds": np.full((2, 3, 2), 2), "macs": 40, "memory": 2**21},
    }
    found = row(measured, "jointly", "alone")
    assert found["relative"] == 1.25 and found["quartiles"] == [1, 1.875]
    assert found["processes"] == [1, 2] and found["processor time, relative"] == 1.5
    assert (found["floor"], found["seconds"], found["memory"]) == (0.75, 2.5, 2**20)
    print_results([found], [found], batch_size=10)
    expected = "jointly / alone: 1.250 [1.00, 1.88], processes 1.000 2.000, CPU 1.50, floor 0.750"
    assert expected in capsys.readouterr().out


def test_mistakes(mistake, tmp_path):
    sentence = mistake(SCRIPT, *SMALL, "--depths", 8, "--output", tmp_path)
    assert "--output must be a name for a file, not a folder. Received: " in sentence
    assert "--depths must be among 8" in mistake(SCRIPT, *SMALL, "--depths", 9)
