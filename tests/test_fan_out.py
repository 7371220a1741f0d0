import keras
import numpy as np
import pytest

from ddnn_keras.fan_out import losses_per_output, metrics_per_output, per_output

KEYS = ["depth_18", "depth_34"]


@pytest.mark.parametrize("fan_out", [losses_per_output, metrics_per_output, per_output])
def test_dicts_and_none_pass_as_they_are(fan_out):
    assert fan_out(None, KEYS) is None
    given = {"depth_18": "mse", "depth_34": "mae"}
    assert fan_out(given, KEYS) == given


def test_cross_entropies_by_name_are_told_of_logits():
    losses = losses_per_output("sparse_categorical_crossentropy", KEYS)
    assert list(losses) == KEYS
    # Logits as probabilities would not give log(2).
    assert float(losses["depth_18"](np.array([1]), np.array([[5.0, 5.0]]))) == pytest.approx(0.6931, abs=1e-4)


@pytest.mark.parametrize(
    "name", ["SparseCategoricalCrossentropy", "sparse_categorical_crossentropy", "CategoricalCrossentropy"]
)
def test_every_spelling_of_a_cross_entropy_means_logits(name):
    assert losses_per_output(name, KEYS)["depth_34"].get_config()["from_logits"] is True
    assert losses_per_output({"depth_18": name}, KEYS)["depth_18"].get_config()["from_logits"] is True


def test_other_losses_stay_as_they_are():
    assert losses_per_output("mse", KEYS) == {"depth_18": "mse", "depth_34": "mse"}
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=False)
    assert losses_per_output(own, KEYS)["depth_18"] is own


def test_labels_for_some_outputs_alone():
    with pytest.raises(ValueError, match="Missing: depth_34"):
        per_output({"depth_18": [1]}, KEYS)


def test_each_output_gets_metrics_of_its_own():
    metric = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3")
    metrics = metrics_per_output(["accuracy", metric], KEYS)
    assert [names[0] for names in metrics.values()] == ["accuracy", "accuracy"]
    copies = [names[1] for names in metrics.values()]
    assert len({id(copy) for copy in [metric, *copies]}) == 3
    assert all(copy.get_config() == metric.get_config() for copy in copies)
    assert list(metrics_per_output("accuracy", KEYS)) == KEYS
