import threading

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.fan_out import losses_per_output, metrics_per_output, per_output, weights_per_output

KEYS = ["depth_18", "depth_34"]


@pytest.mark.parametrize("fan_out", [losses_per_output, metrics_per_output, per_output, weights_per_output])
def test_dicts_and_none_pass_as_they_are(fan_out):
    assert fan_out(None, KEYS) is None
    given = {"depth_18": ["mse"], "depth_34": ["mae"]}
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


IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype("float32")
LABELS = np.arange(8) % 3


def evaluated(labels=LABELS, **arguments):
    """What a tiny network's `evaluate` gives, whose shallowest depth is the last in the alphabet."""
    keras.utils.set_random_seed(0)
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    model.compile("sgd", **arguments)
    return model.evaluate(IMAGES, labels, return_dict=True, verbose=0)


@pytest.mark.parametrize("name", ["crossentropy", "ce"])
@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3, dtype="float32")[LABELS]])
def test_keras_short_names_of_cross_entropies_mean_logits(name, labels):
    assert evaluated(labels, loss=name) == pytest.approx(evaluated(), rel=1e-5)


def test_a_short_name_outlasts_saving(tmp_path):
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    model.compile("sgd", loss="ce", distillation=EKD())
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(model.evaluate(IMAGES, LABELS, verbose=0))


@pytest.mark.parametrize(
    "metrics", [["sparse_categorical_crossentropy"], {"depth_14": "SparseCategoricalCrossentropy"}]
)
def test_metrics_of_cross_entropies_by_name_mean_logits(metrics):
    logs = evaluated(metrics=metrics)
    assert logs["depth_14_sparse_categorical_crossentropy"] == pytest.approx(logs["depth_14_loss"], rel=1e-5)


def test_a_dict_leaves_metrics_and_weights_out():
    logs = evaluated(metrics={"depth_8": "accuracy", "depth_14": None}, loss_weights={"depth_8": 3.0})
    assert set(logs) == {"loss", "depth_8_loss", "depth_14_loss", "depth_8_accuracy"}
    assert logs["loss"] == pytest.approx(3 * logs["depth_8_loss"] + logs["depth_14_loss"], rel=1e-5)
    alone = evaluated(loss={"depth_14": "ce"}, loss_weights=[2.0])
    assert alone["loss"] == pytest.approx(2 * logs["depth_14_loss"], rel=1e-5)


@pytest.mark.parametrize("weights", [[0.0, 2.0], {"depth_14": 2.0, "depth_8": 0.0}])
def test_weights_are_those_of_the_depths_in_their_order(weights):
    logs = evaluated(loss_weights=weights)
    assert logs["depth_8_loss"] != pytest.approx(logs["depth_14_loss"], rel=0.01)
    assert logs["loss"] == pytest.approx(2 * logs["depth_14_loss"], rel=1e-5)


def test_a_list_of_losses_has_one_for_each_depth():
    name = "sparse_categorical_crossentropy"
    assert evaluated(loss=[name, keras.losses.get(name)], loss_weights=[1.0, 0.0])["loss"] == pytest.approx(
        evaluated(loss_weights=[1.0, 0.0])["loss"], rel=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"loss": ["ce"]}, r"`loss` must have one value for each of depth_8, depth_14\. Received: \['ce'\]"),
        ({"loss_weights": [1, 2, 3]}, r"`loss_weights` must have one value for each of depth_8, depth_14\. Received: "),
        ({"loss_weights": {8: 1, 14: 0}}, r"`loss_weights` must have keys among depth_8, depth_14\. Received: \{8: 1"),
    ],
)
def test_what_does_not_fit_the_depths_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluated(**arguments)


class TopK(keras.metrics.Metric):
    """As in Keras' guides, without a configuration."""

    def __init__(self, k=1, network=None, lock=None):
        super().__init__(name="top")
        self.k, self.network, self.lock = k, network, lock
        self.total = self.add_variable((), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        hits = keras.ops.in_top_k(keras.ops.cast(y_true, "int32"), y_pred, self.k)
        self.total.assign_add(keras.ops.sum(keras.ops.cast(hits, self.dtype)))

    def result(self):
        return keras.ops.convert_to_tensor(self.total)


def own_metric(y_true, y_pred):
    """Two of every sample."""
    return 2 * keras.ops.ones_like(y_pred[:, 0])


def test_metrics_of_ones_own_keep_their_arguments():
    given = [TopK(k=3), keras.metrics.MeanMetricWrapper(own_metric, name="mine")]
    logs = evaluated(metrics=given)
    # Every class is among the first three of three, and no depth counts for another.
    assert [logs[f"depth_{depth}_top"] for depth in (8, 14)] == [8, 8]
    assert [logs[f"depth_{depth}_mine"] for depth in (8, 14)] == [2, 2]
    assert float(given[0].total) == 0


def test_copies_of_a_metric_look_at_the_same_network():
    network = keras.layers.Dense(1)
    copies = [metric for (metric,) in metrics_per_output(TopK(network=network), KEYS).values()]
    assert copies[0] is not copies[1]
    assert copies[0].network is copies[1].network is network
    with pytest.raises(
        ValueError, match=r"`metrics` must be a dict .* cannot be copied .* Received: <TopK name=top>: "
    ):
        metrics_per_output(TopK(lock=threading.Lock()), KEYS)
