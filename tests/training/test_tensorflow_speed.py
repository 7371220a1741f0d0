"""A step is traced once."""

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD


class CountedSteps(DDNN):
    """Counts how often Keras calls for a step: once for each trace."""

    count = 0

    def train_step(self, *args):
        self.count += 1
        return super().train_step(*args)


IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 16, 16, 1)).astype("float32")
LABELS = np.arange(6) % 3


def fitted(labels=LABELS, **compile_arguments):
    """A tiny network after two steps."""
    keras.utils.set_random_seed(0)
    model = CountedSteps((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    model.compile(**{"optimizer": "adam", "metrics": ["accuracy"], "distillation": EKD(), **compile_arguments})
    assert not any(np.any(variable) for metric in model.metrics for variable in metric.variables)
    model.fit(IMAGES, labels, batch_size=3, shuffle=False, verbose=0)
    return model


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
@pytest.mark.parametrize(
    ("labels", "arguments"),
    [
        (LABELS, {}),
        (LABELS, {"distillation": None, "weighted_metrics": ["accuracy"]}),
        (np.eye(3, dtype="float32")[LABELS], {"loss": "categorical_crossentropy"}),
    ],
)
def test_the_step_is_traced_once(labels, arguments):
    assert fitted(labels, **arguments).count == 1


def tiny_network():
    return DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))


def test_an_optimizer_serves_what_is_trained_first():
    """As Keras' own models have it: not what was compiled with it, perhaps while layers were frozen."""
    optimizer = keras.optimizers.Adam()
    tiny_network().compile(optimizer)
    model = tiny_network()
    model.trainable = False
    model.compile(optimizer)
    model.trainable = True
    model.compile(optimizer)
    model.late = model.add_weight(shape=(), name="late")
    model.fit(IMAGES, LABELS, verbose=0)
    assert len(optimizer.variables) == 2 + 2 * len(model.trainable_variables)


def test_other_losses_are_left_to_keras():
    model = fitted(np.eye(3, dtype="float32")[LABELS], loss="mse")
    assert set(model.get_metrics_result()) >= {"loss", "depth_8_loss", "depth_14_accuracy"}


def test_history_is_that_of_a_network_that_keras_made_itself(monkeypatch):
    found = fitted()
    monkeypatch.setattr("ddnn_keras.model.make_state", lambda model: None)
    wanted = fitted()
    assert list(found.history.history.items()) == list(wanted.history.history.items())


class Seen(keras.metrics.Metric):
    """How many samples there were in all epochs."""

    def __init__(self):
        super().__init__(name="seen")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.count.assign_add(keras.ops.cast(keras.ops.shape(y_pred)[0], "float32"))

    def result(self):
        return self.count + 0.0

    def reset_state(self):
        pass


def test_a_metric_that_is_never_reset_counts_real_samples_alone():
    model = fitted(metrics=[Seen()])
    assert float(model.get_metrics_result()["depth_8_seen"]) == len(IMAGES)


def test_a_network_can_be_compiled_to_be_evaluated_alone():
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(16, 16, 1))
    model.compile(optimizer=None, metrics=["accuracy"])
    assert 0 <= model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["depth_8_accuracy"] <= 1


def test_a_loss_scale_outlasts_saving(tmp_path):
    keras.utils.set_random_seed(0)
    arguments = {"num_classes": 3, "input_shape": (16, 16, 1), "dtype": "mixed_float16"}
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, **arguments)
    model.compile("adam")
    model.fit(IMAGES, LABELS, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # Keras' own counts its variables twice if it is built twice, and then loads none.
    for found, wanted in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, wanted)


@keras.saving.register_keras_serializable("tests")
class Regularized:
    """A backbone of one's own, whose convolution adds a loss of its activations."""

    num_stages = 1

    def __init__(self):
        self.DEPTHS = {3: (1,), 5: (2,)}

    def stem(self, path, x):
        return x

    def block(self, path, x, stage, index):
        regularizer = keras.regularizers.L2(0.1)
        return path.shared(
            keras.layers.Conv2D,
            f"conv{index}",
            filters=2,
            kernel_size=3,
            padding="same",
            activity_regularizer=regularizer,
        )(x)

    def head(self, path, x):
        return keras.layers.GlobalAveragePooling2D(dtype=path.dtype)(x)

    def get_config(self):
        return {}


def test_losses_of_layers_do_not_hinder_another_compilation():
    model = DDNN((3, 5), backbone=Regularized(), num_classes=3, input_shape=(16, 16, 1))
    for _ in range(2):
        model.compile("sgd", distillation=EKD())
        model.fit(IMAGES, LABELS, verbose=0)
    logs = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    assert logs["loss"] > logs["depth_3_loss"] + logs["depth_5_loss"] + logs["depth_3_kl_loss"] + 1
