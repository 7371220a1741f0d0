"""Distillation finds the features behind logits, in Keras' steps and in those that users write."""

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.stage_features import features_of

IMAGES = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 1)).astype("float32")
LABELS = np.arange(8) % 3
# The deepest comes first in the alphabet.
DEPTHS = {"c": (1, 1, 1), "a": (1, 2, 1)}


def compiled(network=DDNN, **arguments):
    keras.utils.set_random_seed(0)
    model = network(DEPTHS, backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    model.compile(**{"optimizer": "sgd", "metrics": ["accuracy"], "distillation": EKD(kl_weight=100.0), **arguments})
    return model


def history(model):
    return model.fit(IMAGES, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0).history


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a step written for TensorFlow")
def test_a_step_of_ones_own_distills():
    import tensorflow as tf

    class OwnStep(DDNN):
        """As in Keras' guide on `fit`."""

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            trained = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, trained), trained)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
            return self.compute_metrics(x, y, y_pred)

    wanted, found = history(compiled()), history(compiled(OwnStep))
    assert min(wanted["depth_c_kl_loss"]) > 0
    for name, values in wanted.items():
        assert found[name] == pytest.approx(values, rel=1e-5), name


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX' steps are functions of their state")
def test_a_loop_of_ones_own_has_the_loss_of_evaluate():
    model = compiled()
    wanted = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["loss"]
    logits = model(IMAGES)
    assert float(model.compute_loss(IMAGES, LABELS, logits)) == pytest.approx(wanted, rel=1e-5)
    # Logits of another pass than the latest have no features that could be told apart from others'.
    model(IMAGES[:4])
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    alone = sum(float(cross_entropy(LABELS, values)) for values in logits.values())
    assert float(model.compute_loss(IMAGES, LABELS, logits)) == pytest.approx(alone, rel=1e-5)
    assert alone < wanted / 2


def test_losses_and_metrics_of_ones_own_see_logits():
    seen = []

    class OwnLoss(DDNN):
        """With the arguments that Keras' docstrings have, and labels as `fit` gets them."""

        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            seen.append((type(y), sorted(y_pred)))
            return super().compute_loss(x, y, y_pred, sample_weight, training)

        def compute_metrics(self, x, y, y_pred, sample_weight):
            seen.append((type(y), sorted(y_pred)))
            return super().compute_metrics(x, y, y_pred, sample_weight)

    wanted, found = history(compiled()), history(compiled(OwnLoss))
    assert {tuple(keys) for _, keys in seen} == {("depth_a", "depth_c")}
    assert dict not in {kind for kind, _ in seen}
    assert found == wanted


def test_a_step_leaves_no_features_behind():
    model = compiled()
    before = model(IMAGES)
    model.fit(IMAGES, LABELS, batch_size=4, verbose=0)
    model.evaluate(IMAGES, LABELS, verbose=0)
    assert sorted(features_of(before)) == ["depth_a", "depth_c"]


def test_without_distillation_nothing_is_remembered():
    model = compiled(distillation=None)
    assert features_of(model(IMAGES)) is None
