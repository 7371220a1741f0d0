import json
import re
import shlex

import numpy as np
import pytest
import screen
import screening_report
from comparison_records import read_records
from conftest import ROOT

TINY = shlex.split("--train-images 300 --backbone resnet_cifar --depths 8 14 --width 2 --epochs 1 --warmup-epochs 0")


def made_up(num_factors, seeds, accuracy):
    """Records whose accuracy is a function of levels and seed, as a fraction."""
    return [
        {"seed": seed, "levels": levels, "validation": {"depth_8": {"accuracy": accuracy(np.array(levels), seed)}}}
        for seed, levels in screen.design(num_factors, seeds)
    ]


@pytest.mark.parametrize("num_factors", range(1, 9))
def test_every_pair_of_levels_is_as_frequent_as_any_other(num_factors):
    levels = np.array([levels for _, levels in screen.design(num_factors, [0, 1])])
    signs = 2 * levels - 1
    np.testing.assert_array_equal(signs.T @ signs, len(levels) * np.eye(num_factors))
    np.testing.assert_array_equal(signs.sum(axis=0), 0)
    assert len({*map(tuple, levels)}) > num_factors


def test_effects_are_found_whatever_the_seeds_bring():
    effects = np.array([0.01, -0.02, 0.0])
    records = made_up(3, [0, 7], lambda levels, seed: 0.5 + levels @ effects + 0.03 * seed)
    found = screening_report.effects(records)["depth 8"]
    np.testing.assert_allclose([effect.mean for effect in found], 100 * effects, atol=1e-9)
    np.testing.assert_allclose([effect.high - effect.low for effect in found], 0, atol=1e-9)


def test_two_factors_that_act_together_widen_the_intervals_and_move_no_effect():
    records = made_up(3, [0, 1], lambda levels, seed: 0.5 + 0.01 * levels[2] + 0.04 * (levels[0] ^ levels[1]))
    found = screening_report.effects(records)["depth 8"]
    np.testing.assert_allclose([effect.mean for effect in found], [0, 0, 1], atol=1e-9)
    assert all(effect.high - effect.low > 2 for effect in found)


def test_the_interval_is_that_of_a_t_test_where_there_is_one_factor():
    from scipy import stats

    noise = iter(np.random.default_rng(0).normal(0, 0.01, 40))
    records = made_up(1, range(20), lambda levels, seed: 0.5 + next(noise))
    values = np.array([100 * record["validation"]["depth_8"]["accuracy"] for record in records])
    (found,) = screening_report.estimated(records, values)
    seconds = np.array([record["levels"][0] for record in records]) == 1
    by_seed = stats.ttest_rel(values[seconds], values[~seconds]).confidence_interval()
    np.testing.assert_allclose([found.low, found.high], by_seed)


PAGE = ROOT / "recipes/results/cifar10_screening/README.md"
(PUBLISHED,) = re.findall(r"^python recipes/study/screen.py (.*)$", PAGE.read_text(), re.MULTILINE)


def test_the_published_command_makes_the_published_runs():
    """The other screenings need the switches of a patch."""
    arguments = screen.parser.parse_args(shlex.split(PUBLISHED))
    runs, records = screen.plan(arguments), read_records(ROOT / arguments.output)
    assert {record["name"]: record["levels"] for record in records} == {run.name: list(run.levels) for run in runs}
    screen.check_records(records, runs, arguments.output)
    with pytest.raises(ValueError, match="on this backend: choose another folder"):
        screen.check_records([{**records[0], "backend": "torch"}], runs, arguments.output)


@pytest.mark.slow
def test_a_screening_is_gone_on_with_and_refuses_other_factors(printed, mistake, tmp_path):
    flags = [*TINY, "--output", str(tmp_path), "--factor", "temperature", ""]
    # All runs but one are there.
    _, *done = screen.plan(screen.parser.parse_args([*flags, "--temperature 4"]))
    accuracies = {key: {"accuracy": 0.5, "macs": 1} for key in ("depth_8", "depth_14")}
    records = [
        {
            **{"name": run.name, "method": run.method, "seed": run.seed, "levels": list(run.levels)},
            **{"arguments": run.arguments, "backend": "tensorflow", "validation": accuracies},
        }
        for run in done
    ]
    (tmp_path / "results.json").write_text(json.dumps({"runs": records}))
    shown = printed("recipes/study/screen.py", *flags, "--temperature 4")
    assert "3 of 4 runs are done" in shown and "| temperature | as given | `--temperature 4` |" in shown
    (trained,) = (run for run in read_records(tmp_path) if run["name"] not in {run.name for run in done})
    assert (trained["levels"], trained["arguments"]["temperature"]) == ([0], 1.0)
    assert (tmp_path / "effects.png").stat().st_size
    assert "choose another folder" in mistake("recipes/study/screen.py", *flags, "--temperature 2")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--factor a '' '--temperature 1.0'", "--factor a must have two different levels"),
        ("--factor a '' '--depths 8 20'", "must leave --depths as it is"),
        ("--factor a '' '--dataset npz:other.npz'", "must leave --dataset as it is"),
        ("--factor a '' '--distillation attention --teacher mean'", "^--factor a must not set --teacher, which --dist"),
        ("--factor a '' '--temperature 0'", "`temperature` must be a positive number"),
        ("--learning-rate 0.1 --factor a '' '--learning-rate 0.1'", "--factor a must have two different levels"),
        (
            "--factor a '' '--temperature 2' --factor b '--teacher mean' '--teacher mean --temperature 3'",
            "--factor b must not set --temperature, which --factor a does",
        ),
        ("--factor a '' '--temperature 2' --seeds 0", "--seeds must be an even number"),
    ],
)
def test_mistakes_are_refused_before_any_training(flags, message, tmp_path):
    arguments = screen.parser.parse_args([*TINY, "--output", str(tmp_path / "s"), *shlex.split(flags)])
    with pytest.raises(ValueError, match=message):
        screen.main(arguments)
    assert not (tmp_path / "s").exists()
