import re

import pytest
from benchmark_training import alternatives, macs_of, parser

SCRIPT = "tests/benchmarks/benchmark_training.py"
SMALL = ["--backbone", "resnet_cifar", "--width", "1", "--image-size", "8", "--batch-size", "2", "--depths", "14", "8"]


@pytest.mark.slow
def test_every_route_is_timed_beside_the_first(printed):
    shown = printed(SCRIPT, *SMALL, "--steps", 1, "--rounds", 2)
    rows = {cells[0]: cells[1:] for line in shown.splitlines() if len(cells := re.split(r"\s*│\s*", line)[1:-1]) == 4}
    _, routes = alternatives((14, 8))
    assert list(rows) == list(routes)
    assert rows["each alone"][1:] == ["1.000 [1.00, 1.00]", "1.000"]
    for milliseconds, relative, floor in rows.values():
        assert min(float(milliseconds), float(relative.split()[0]), float(floor)) > 0


def test_routes_to_the_same_networks():
    trainings, routes = alternatives((14, 8))
    assert routes == {
        "each alone": ["8 alone", "14 alone"],
        "jointly, cross-entropy": ["jointly, cross-entropy"],
        "jointly, EKD": ["jointly, EKD"],
        "full-net, then Distiller": ["14 alone", "8 with Distiller"],
        **{name: [name] for name in ("8 alone", "14 alone", "8 with Distiller")},
    }
    # A step takes three passes; the Distiller's teacher takes one more.
    arguments = parser.parse_args(SMALL)
    macs = {name: macs_of(arguments, training) for name, training in trainings.items()}
    assert macs["8 with Distiller"] == pytest.approx(macs["8 alone"] + macs["14 alone"] / 3)
    assert macs["14 alone"] < macs["jointly, EKD"] == macs["jointly, cross-entropy"]
    assert macs["jointly, EKD"] < macs["14 alone"] + macs["8 alone"]


def test_mistakes(mistake):
    assert "--depths must be among 8" in mistake(SCRIPT, *SMALL, "--depths", 9)
