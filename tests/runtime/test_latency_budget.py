import itertools
import random

import pytest

from ddnn_keras.runtime.latency_budget import HYSTERESIS, WINDOW, LatencyBudget

LATENCIES = {18: 2.0, 34: 4.0, 50: 6.0}


def run(budget, pace, milliseconds, times=1):
    """Depths chosen on a device of this pace, a number or one for each depth, one run after the other."""
    paces = pace if isinstance(pace, dict) else dict.fromkeys(LATENCIES, pace)
    depths = []
    for _ in range(times):
        depths.append(budget.choose(milliseconds))
        budget.observe(depths[-1], paces[depths[-1]] * LATENCIES[depths[-1]])
    return depths


@pytest.mark.parametrize(("milliseconds", "depth"), [(2.0, 18), (3.9, 18), (4.0, 34), (6.0, 50), (float("inf"), 50)])
def test_the_deepest_that_fits(milliseconds, depth):
    assert LatencyBudget(LATENCIES).choose(milliseconds) == depth


@pytest.mark.parametrize("milliseconds", [0, -1, 1.99, float("nan")])
def test_an_impossible_budget(milliseconds):
    sentence = r"^`budget_ms` must be at least 2, the time of depth 18 on this device\. Received"
    with pytest.raises(ValueError, match=sentence):
        LatencyBudget(LATENCIES).choose(milliseconds)


def test_a_slower_device_and_its_recovery():
    budget = LatencyBudget(LATENCIES)
    assert run(budget, 1.0, 6.5, 20)[-1] == 50
    assert run(budget, 1.5, 6.5, 20)[-1] == 34
    assert run(budget, 5.0, 6.5, 20)[-1] == 18  # which takes 10 then: as near as it gets
    assert run(budget, 1.0, 7.0, 20)[-1] == 50


def test_one_interrupted_run_changes_nothing():
    for runs_before in (0, WINDOW):
        budget = LatencyBudget(LATENCIES)
        run(budget, 1.0, 6.5, runs_before)
        budget.observe(50, 600.0)
        assert budget.choose(6.5) == 50


def test_a_budget_that_a_faster_device_kept_is_accepted_when_it_slows_down():
    budget = LatencyBudget(LATENCIES)
    run(budget, 0.5, 4.0, WINDOW)
    assert run(budget, 1.0, 1.5, 3 * WINDOW) == [18] * 3 * WINDOW
    with pytest.raises(ValueError, match="must be at least 1, the time of depth 18"):
        budget.choose(0.9)


def test_noise_at_the_bound_does_not_make_it_flap():
    noise = random.Random(0)
    budget, depths = LatencyBudget(LATENCIES), []
    for _ in range(500):
        depths += run(budget, noise.uniform(1 - HYSTERESIS / 3, 1 + HYSTERESIS / 3), 6.0)
    changes = sum(before != after for before, after in itertools.pairwise(depths))
    assert changes <= 1


# Also if the budget moves a little.
@pytest.mark.parametrize(("slower", "jitter"), [(1.5, 0.0), (1.5, 0.001), (1.5, 0.1), (1.8, 0.0), (5.0, 0.0)])
def test_a_depth_that_slows_down_alone_is_tried_ever_more_rarely_and_holds_back_no_other(slower, jitter):
    noise = random.Random(0)
    budget, depths = LatencyBudget(LATENCIES), []
    for _ in range(2000):
        depths += run(budget, {18: 1.0, 34: 1.0, 50: slower}, 7.0 + noise.uniform(-jitter, jitter))
    assert depths[:500].count(50) < 50  # each time it takes half a window until the pace shows
    assert depths[500:1000].count(50) < 10 and depths[500:].count(50) < 20
    assert depths.count(34) > 1800
    assert 18 not in depths or slower > 1.5


def test_a_budget_that_drifts_is_followed():
    budget, depths = LatencyBudget(LATENCIES), []
    for milliseconds in range(700, 400, -1):
        depths += run(budget, 1.0, milliseconds / 100)
    # The one in use stays until it does not fit.
    assert depths == [50] * 101 + [34] * 199


def test_after_a_rare_try_that_holds_it_follows_as_before():
    budget = LatencyBudget(LATENCIES)
    run(budget, {18: 1.0, 34: 1.0, 50: 1.5}, 7.0, 1000)
    depths = run(budget, 1.0, 7.0, 1000)
    assert depths[-1] == 50
    run(budget, 1.5, 7.0, 20)
    assert run(budget, 1.0, 7.0, 3 * WINDOW)[-1] == 50


def test_another_budget_begins_anew():
    budget = LatencyBudget(LATENCIES)
    run(budget, 1.0, 5.0, 20)
    assert budget.choose(6.1) == 50  # without the margin
    assert budget.choose(5.0) == 34
    assert budget.choose(6.1) == 50
