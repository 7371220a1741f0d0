"""recipes/study/headroom.py: what it counts, and how a user runs it."""

import numpy as np
import pytest
from headroom import headroom, predicted

from ddnn_keras import DDNN, data
from ddnn_keras.distillation import kl_divergence
from ddnn_keras.runs.checkpoint import load_network

SCRIPT = "recipes/study/headroom.py"


def sure_of(*classes):
    """Logits that leave no doubt of three classes."""
    return 50.0 * np.eye(3)[list(classes)]


def test_what_the_full_net_knows_better_and_worse():
    labels = np.array([0, 1, 2, 2])
    held_out = {"depth_8": sure_of(0, 0, 0, 2), "depth_14": sure_of(1, 1, 2, 2), "mean of all": sure_of(0, 1, 2, 2)}
    rows = headroom((held_out, labels), (held_out, labels))
    assert rows["depth_8"]["better"] == 0.5
    assert rows["depth_8"]["worse"] == 0.25
    assert rows["depth_14"]["better"] == rows["depth_14"]["worse"] == 0
    assert [row["validation"] for row in rows.values()] == [row["trained"] for row in rows.values()] == [0.5, 0.75, 1]


def test_what_probabilities_say_beyond_labels():
    labels = np.array([0, 0])
    training = {"depth_8": sure_of(0, 1), "depth_14": np.zeros((2, 3)), "mean of all": np.array([[2.0, 1, 0]] * 2)}
    rows = headroom((training, labels), (training, labels))
    assert rows["depth_8"]["entropy"] == pytest.approx(0, abs=1e-9)
    assert rows["depth_14"]["entropy"] == pytest.approx(np.log(3))
    assert rows["depth_14"]["KL"] == 0
    for key in ("depth_8", "mean of all"):
        assert rows[key]["KL"] == pytest.approx(np.mean(kl_divergence(training["depth_14"], training[key])), rel=1e-5)


def test_a_run(printed, finished_run):
    shown = printed(SCRIPT, finished_run)
    lines = [line.strip("│").split("│") for line in shown.splitlines() if "│" in line]
    rows = {depth.strip(): [cell.strip() for cell in cells] for depth, *cells in lines}
    # Its metrics are about the test split.
    model, digits = load_network(finished_run / "model.keras"), data.load("digits", seed=0)
    evaluated = model.evaluate(digits.validation(100), return_dict=True, verbose=0)
    for depth in ("10", "18"):
        assert rows[depth][3] == f"{evaluated[f'depth_{depth}_accuracy']:.2%}"
    assert rows["18"][2] == "0.0000" < rows["10"][2]
    assert rows["18"][4:] == ["0.00%", "0.00%"]
    assert "mean of all" in rows


def test_depths_of_several_networks_and_the_mean_of_their_logits():
    shallow, deep = (DDNN((depth,), "resnet_cifar", width=4, input_shape=(8, 8, 1)) for depth in (8, 14))
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 1)).astype("float32")
    logits, labels = predicted([deep, shallow], [(images[:2], np.array([4, 5])), (images[2:], np.array([6]))])
    assert list(logits) == ["depth_8", "depth_14", "mean of all"]
    np.testing.assert_allclose(logits["depth_8"], shallow(images)["depth_8"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(logits["mean of all"], (logits["depth_8"] + logits["depth_14"]) / 2)
    assert labels.tolist() == [4, 5, 6]


def test_mistakes(mistake, finished_run, tmp_path):
    assert "RUN must be runs of different depths" in mistake(SCRIPT, finished_run, finished_run)
    assert "holds no run" in mistake(SCRIPT, tmp_path)
