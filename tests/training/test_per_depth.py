import functools

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.training.per_depth import losses_per_output, metrics_per_output

KEYS = ["depth_18", "depth_34"]


@pytest.mark.filterwarnings("error")
def test_a_cross_entropy_of_probabilities_is_told_of_and_other_losses_stay_as_they_are():
    function, of_logits = keras.losses.sparse_categorical_crossentropy, {"from_logits": True}
    with pytest.warns(UserWarning, match=r"^`loss` of depth_34 takes probabilities, but .*<function sparse_categ"):
        assert losses_per_output({"depth_34": function}, KEYS) == {"depth_34": function}
    assert losses_per_output("mse", KEYS) == dict.fromkeys(KEYS, "mse")
    for name in ("metrics", "weighted_metrics"):
        with pytest.warns(UserWarning, match=f"^`{name}` of depth_18 takes probabilities"):
            metrics_per_output([keras.metrics.SparseCategoricalCrossentropy()], KEYS[:1], name)
    losses_per_output(keras.losses.SparseCategoricalCrossentropy(**of_logits), KEYS)
    losses_per_output(lambda y, logits: logits, KEYS)
    metrics_per_output(["accuracy", "crossentropy", keras.metrics.SparseCategoricalCrossentropy(**of_logits)], KEYS)
    for loss in ("kl_divergence", "KLD", keras.losses.KLDivergence(), keras.losses.kl_divergence):
        with pytest.warns(UserWarning, match="takes probabilities, .*: give categorical_crossentropy, which differs"):
            losses_per_output(loss, KEYS[:1])


@pytest.mark.filterwarnings("error")
def test_a_metric_that_compares_with_one_half_is_told_of():
    metrics = keras.metrics
    for metric in (metrics.Precision(), metrics.BinaryAccuracy(), metrics.binary_accuracy):
        with pytest.warns(UserWarning, match=r"^`metrics` of depth_18 takes probabilities, .* or thresholds?=0\. Rec"):
            metrics_per_output([metric], KEYS[:1])
    with pytest.warns(UserWarning, match="but outputs are logits: give a subclass that takes the sigmoid"):
        metrics_per_output([metrics.F1Score(threshold=0.5)], KEYS[:1])
    metrics_per_output([metrics.Precision(thresholds=0), metrics.Recall(top_k=1), metrics.F1Score()], KEYS)
    assert metrics_per_output(["false_negatives"], KEYS)["depth_18"][0].thresholds == [0.0]
    assert metrics_per_output(["BinaryIoU"], KEYS)["depth_34"][0].threshold == 0.0


def test_each_output_gets_a_metric_of_its_own():
    metric = keras.metrics.SparseTopKCategoricalAccuracy(k=3, name="top3")
    for given in (metric, [metric], [[metric], [metric]], {key: [metric] for key in KEYS}, dict.fromkeys(KEYS, metric)):
        (first,), (second,) = metrics_per_output(given, KEYS).values()
        assert first is metric and second.get_config() == metric.get_config()
        second.update_state(np.array([0]), np.array([[1, 0, 0, 0]], "float32"))
        assert (float(first.result()), float(second.result())) == (0.0, 1.0)
    assert metrics_per_output("accuracy", KEYS) == {key: ["accuracy"] for key in KEYS}


IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype("float32")
LABELS = np.arange(8) % 3
ONE_HOT = np.eye(3, dtype="float32")[LABELS]


@functools.cache
def network():
    """A tiny network, whose shallowest depth is the last in the alphabet."""
    keras.utils.set_random_seed(0)
    return DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))


def evaluated(labels=LABELS, images=IMAGES, sample_weight=None, **arguments):
    model = network()
    model.compile("sgd", run_eagerly=True, **arguments)
    return model.evaluate(images, labels, sample_weight=sample_weight, return_dict=True, verbose=0)


LIGHT, HEAVY = np.linspace(0, 1, 8), np.linspace(3, 2, 8)


@pytest.mark.parametrize("given", [[LIGHT, HEAVY], (LIGHT, HEAVY), {"depth_14": HEAVY, "depth_8": LIGHT}])
@pytest.mark.parametrize("distillation", [None, EKD()])
def test_sample_weights_of_each_depth(given, distillation):
    settings = {"distillation": distillation, "weighted_metrics": [keras.metrics.MeanMetricWrapper(own_metric)]}
    logs = evaluated(sample_weight=given, **settings)
    of_all = [evaluated(sample_weight=weights, **settings) for weights in (LIGHT, HEAVY)]
    assert of_all[0]["depth_8_loss"] < 0.5 * of_all[1]["depth_8_loss"]
    for wanted, key in zip(of_all, ("depth_8", "depth_14")):
        found = {name: value for name, value in logs.items() if name.startswith(key)}
        assert found == pytest.approx({name: wanted[name] for name in found}, rel=1e-5)
        assert len(found) == (4 if distillation and key == "depth_8" else 2)


def test_weighted_metrics_are_weighted():
    logs = evaluated(sample_weight=np.repeat([0.0, 5.0], 4), metrics=["accuracy"], weighted_metrics=["accuracy"])
    found = {name: value for name, value in logs.items() if "accuracy" in name}
    heavy = evaluated(LABELS[4:], IMAGES[4:], metrics=["accuracy"])
    assert sorted(found) == [f"depth_{depth}_{name}" for depth in (14, 8) for name in ("accuracy", "weighted_accuracy")]
    assert [found[f"depth_{depth}_weighted_accuracy"] for depth in (8, 14)] == pytest.approx(
        [heavy[f"depth_{depth}_accuracy"] for depth in (8, 14)]
    )
    assert found["depth_8_accuracy"] == pytest.approx(evaluated(metrics=["accuracy"])["depth_8_accuracy"])


def test_a_depth_without_weights_has_a_weight_of_one():
    logs = evaluated(sample_weight={"depth_14": HEAVY}, distillation=EKD())
    wanted = evaluated(sample_weight=[np.ones(8), HEAVY], distillation=EKD())
    assert logs == pytest.approx(wanted, rel=1e-5)
    logs = evaluated(sample_weight={}, loss_weights={}, distillation=EKD())
    assert logs == pytest.approx(evaluated(distillation=EKD()))


def test_labels_of_each_depth():
    logs = evaluated([LABELS, 2 - LABELS])
    assert logs == pytest.approx(evaluated({"depth_8": LABELS, "depth_14": 2 - LABELS}))
    assert logs["depth_8_loss"] == pytest.approx(evaluated()["depth_8_loss"])
    assert logs["depth_14_loss"] == pytest.approx(evaluated(2 - LABELS)["depth_14_loss"])


def test_a_depth_that_learns_from_the_full_net_alone_needs_no_labels():
    settings = {"loss": {"depth_14": "ce"}, "metrics": {"depth_14": ["accuracy"]}, "distillation": EKD()}
    logs = evaluated({"depth_14": LABELS}, **settings)
    assert logs == pytest.approx(evaluated(**settings))
    assert "depth_8_kl_loss" in logs and "depth_8_loss" not in logs
    with pytest.raises(ValueError, match=r"`y` must have labels of depth_8, depth_14\. Missing: depth_8"):
        evaluated({"depth_14": LABELS}, **{**settings, "metrics": {"depth_8": "accuracy"}})


@pytest.mark.parametrize("name", ["bce", "BinaryCrossentropy"])
def test_binary_cross_entropies_by_name_mean_logits(name):
    logs = evaluated(ONE_HOT, loss=name, metrics=[name])
    wanted = keras.losses.BinaryCrossentropy(from_logits=True)
    assert logs["depth_8_loss"] == pytest.approx(evaluated(ONE_HOT, loss=wanted)["depth_8_loss"], rel=1e-5)
    assert logs[f"depth_8_{name}"] == pytest.approx(logs["depth_8_loss"], rel=1e-5)
    with pytest.warns(UserWarning, match=r"^`distillation` teaches probabilities .* give EKD\(kl_weight=0\)"):
        network().compile("sgd", loss=name, distillation=EKD())


def test_metrics_by_name_compare_logits_with_that_of_one_half():
    model = network()
    model.get_layer("depth_8").bias.assign([-0.7] * 3)
    model.compile("sgd", loss="bce", metrics=["binary_accuracy", "Precision", "recall"], run_eagerly=True)
    logs = model.evaluate(IMAGES, ONE_HOT, return_dict=True, verbose=0)
    logits = model.predict(IMAGES, verbose=0)["depth_8"]
    chosen, right = logits > 0, np.sum((logits > 0) * ONE_HOT)
    assert 0 < np.sum(chosen) < logits.size and np.max(logits) < 0.5
    assert logs["depth_8_binary_accuracy"] == pytest.approx(np.mean(chosen == ONE_HOT))
    assert logs["depth_8_Precision"] == pytest.approx(right / np.sum(chosen))
    assert logs["depth_8_recall"] == pytest.approx(right / np.sum(ONE_HOT))


@pytest.mark.parametrize("name", ["crossentropy", "ce"])
def test_short_names_of_cross_entropies_mean_logits(name, tmp_path):
    model = network()
    model.compile("sgd", loss=name, metrics=[name], distillation=EKD(), run_eagerly=True)
    model.save(tmp_path / "model.keras")
    both = model, keras.saving.load_model(tmp_path / "model.keras")
    found = [each.evaluate(IMAGES, LABELS, return_dict=True, verbose=0) for each in both]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0][f"depth_8_{name}"] == pytest.approx(found[0]["depth_8_loss"], rel=1e-5)
    for labels in (LABELS, LABELS[:, None], ONE_HOT):
        assert evaluated(labels, loss=name) == pytest.approx(evaluated(), rel=1e-5)


def test_logs_have_the_names_that_keras_gives_to_a_plain_model(tmp_path):
    def plain():
        image = keras.Input((16, 16, 1))
        outputs = {key: keras.layers.Dense(3, "sigmoid", name=key) for key in ("depth_8", "depth_14")}
        flat = keras.layers.Flatten()(image)
        return keras.Model(image, {key: layer(flat) for key, layer in outputs.items()})

    names = ["AUC", "auc", "bce", "BinaryCrossentropy", "categorical_crossentropy", "mse", "accuracy"]
    settings, found = {"loss": "BinaryCrossentropy", "run_eagerly": True}, []
    # The second network of a process has the names of the first.
    for model in (plain(), network(), network()):
        of_each = {"depth_8": names, "depth_14": names}
        model.compile("sgd", metrics=of_each, weighted_metrics=of_each, **settings)
        given = {"depth_8": ONE_HOT, "depth_14": ONE_HOT}
        found.append(set(model.evaluate(IMAGES, given, return_dict=True, verbose=0)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    found.append(set(loaded.evaluate(IMAGES, ONE_HOT, return_dict=True, verbose=0)))
    assert found == [found[0]] * 4
    assert {"depth_8_AUC", "depth_14_weighted_bce", "depth_8_loss"} <= found[0]


def test_an_area_under_the_curve_by_name_is_that_of_logits():
    wanted = evaluated(ONE_HOT, loss="bce", metrics=[keras.metrics.AUC(from_logits=True, name="AUC")])
    for name in ("AUC", "auc"):
        logs = evaluated(ONE_HOT, loss="bce", metrics=[name])
        assert logs[f"depth_8_{name}"] == pytest.approx(wanted["depth_8_AUC"])


def test_lists_and_dicts_of_metrics_and_weights():
    logs = evaluated(metrics=[["accuracy"], ["accuracy", "ce"]])
    assert {name for name in logs if "loss" not in name} == {"depth_8_accuracy", "depth_14_accuracy", "depth_14_ce"}
    logs = evaluated(metrics={"depth_8": "accuracy", "depth_14": None}, loss_weights={"depth_8": 3.0})
    assert set(logs) == {"loss", "depth_8_loss", "depth_14_loss", "depth_8_accuracy"}
    assert logs["loss"] == pytest.approx(3 * logs["depth_8_loss"] + logs["depth_14_loss"], rel=1e-5)
    alone = evaluated(loss={"depth_14": "ce"}, loss_weights=[2.0])
    assert alone["loss"] == pytest.approx(2 * logs["depth_14_loss"], rel=1e-5)


@pytest.mark.parametrize("weights", [[0.0, 2.0], {"depth_14": 2.0, "depth_8": 0.0}])
def test_losses_and_weights_are_those_of_the_depths_in_their_order(weights):
    logs = evaluated(loss=["sparse_categorical_crossentropy", "ce"], loss_weights=weights)
    assert logs["depth_8_loss"] != pytest.approx(logs["depth_14_loss"], rel=0.01)
    assert logs["loss"] == pytest.approx(2 * logs["depth_14_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"loss": ["ce"]}, r"`loss` must have one value for each of depth_8, depth_14\. Received: \['ce'\]"),
        ({"loss_weights": [1, 2, 3]}, r"`loss_weights` must have one value for each of depth_8, depth_14\. Received: "),
        ({"loss_weights": {8: 1}}, r"`loss_weights` must have keys among depth_8, depth_14\. Received: a dict of 8$"),
        ({"loss_weights": 0.5}, r"`loss_weights` must be a dict by output key, or a list .*\. Received: 0\.5"),
        ({"loss": {8: "ce", 14: "ce"}}, r"`loss` must have keys among depth_8, depth_14\. Received: a dict of 8, 14"),
        ({"metrics": {8: "accuracy"}}, r"`metrics` must have keys among depth_8, depth_14\. Received: a dict of 8"),
        ({"weighted_metrics": [["ce"]]}, r"`weighted_metrics` must have one value for each of depth_8, depth_14\."),
        ({"sample_weight": [LIGHT]}, r"`sample_weight` must have one value for each of depth_8, depth_14\. Received: "),
        ({"sample_weight": {"8": LIGHT}}, r"`sample_weight` must have keys among depth_8, depth_14\. Received: a dict"),
        ({"labels": [LABELS] * 3}, r"`y` must have one value for each of depth_8, depth_14\. Received: "),
    ],
)
def test_what_does_not_fit_the_depths_is_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluated(**arguments)


class TopK(keras.metrics.Sum):
    def __init__(self, k=1, **arguments):
        super().__init__(name="top", **arguments)
        self.k = k

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(keras.ops.in_top_k(keras.ops.cast(y_true, "int32"), y_pred, self.k))


class ConfiguredTopK(TopK):
    def get_config(self):
        return {"k": self.k, "dtype": self.dtype}


@keras.saving.register_keras_serializable("tests")
def own_metric(y_true, y_pred):
    return 2 * keras.ops.ones_like(y_pred[:, 0])


def test_metrics_of_ones_own_keep_their_arguments():
    logs = evaluated(metrics=[ConfiguredTopK(k=3), keras.metrics.MeanMetricWrapper(own_metric, name="mine")])
    # Every class is among the first three of three, and no depth counts for another.
    assert [logs[f"depth_{depth}_top"] for depth in (8, 14)] == [8, 8]
    assert [logs[f"depth_{depth}_mine"] for depth in (8, 14)] == [2, 2]
    # One for each depth needs no copies.
    assert evaluated(metrics={f"depth_{depth}": TopK(k=3) for depth in (8, 14)})["depth_14_top"] == 8
    for metric in (TopK(k=3), keras.metrics.MeanMetricWrapper(lambda labels, logits: logits[:, 0], name="mine")):
        with pytest.raises(ValueError, match=r"^`metrics` must be a dict with a metric for each output where Keras "):
            evaluated(metrics=[metric])
