"""The same model trains with the same objective on TensorFlow and on JAX."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD

# Trains a saved model on saved arrays and prints each step's logs.
TRAINING = """
import json, os, sys

folder = sys.argv[1]

class NoTensorFlow:
    # As on a machine that does not have it.

    def find_spec(self, name, *_):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)

if os.environ["KERAS_BACKEND"] == "jax":
    sys.meta_path.insert(0, NoTensorFlow())
import keras, numpy as np
import ddnn_keras

arrays = np.load(f"{folder}/arrays.npz")
model = keras.saving.load_model(f"{folder}/model.keras")
steps = [model.evaluate(arrays["images"], arrays["labels"], batch_size=16, return_dict=True, verbose=0)]
for _ in range(3):
    history = model.fit(arrays["images"], arrays["labels"], batch_size=16, shuffle=False, verbose=0).history
    steps.append({name: values[0] for name, values in history.items()})
model.save(f"{folder}/{keras.backend.backend()}.keras")
print(json.dumps(steps))
"""


def printed_on(backend, program, *arguments):
    """What a program prints on a backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.slow
def test_both_backends_have_the_same_losses_and_exchange_models(tmp_path):
    pytest.importorskip("jax")
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (32, 16, 16, 1)), random.integers(0, 3, 32)
    np.savez(tmp_path / "arrays.npz", images=images.astype("uint8"), labels=labels)
    depths = {"a": (1, 1, 1, 1), "b": (1, 2, 1, 1)}
    model = DDNN(depths=depths, width=4, num_classes=3, input_shape=(16, 16, 1))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    model.compile(optimizer, metrics=["accuracy"], distillation=EKD(temperature=2.0), jit_compile=False)
    model.save(tmp_path / "model.keras")

    backends = ("tensorflow", "jax")
    steps = [json.loads(printed_on(backend, TRAINING, tmp_path).splitlines()[-1]) for backend in backends]
    for tensorflow_logs, jax_logs in zip(*steps, strict=True):
        assert set(tensorflow_logs) == set(jax_logs)
        assert "depth_a_attention_loss" in jax_logs
        for name, value in tensorflow_logs.items():
            assert jax_logs[name] == pytest.approx(value, abs=1e-4), name
    trained = [keras.saving.load_model(tmp_path / f"{backend}.keras") for backend in backends]
    for one, other in zip(*(each.get_weights() for each in trained)):
        np.testing.assert_allclose(one, other, atol=1e-3)


# Trains with Keras' step and with one's own, written as Keras' guide on JAX does, and prints whether they agree.
OWN_STEP = """
import jax, keras, numpy as np
from ddnn_keras import DDNN, EKD

class OwnStep(DDNN):
    def loss_and_updates(self, trainable, others, metrics, x, y):
        y_pred, others = self.stateless_call(trainable, others, x, training=True)
        loss, (_, others, metrics) = self.stateless_compute_loss(trainable, others, metrics, x, y, y_pred)
        return loss, (y_pred, others, metrics)

    def train_step(self, state, data):
        trainable, others, optimizer, metrics = state
        gradient = jax.value_and_grad(self.loss_and_updates, has_aux=True)
        (loss, (y_pred, others, metrics)), gradients = gradient(trainable, others, metrics, *data)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        with keras.StatelessScope(list(zip(self.metrics_variables, metrics))) as scope:
            next(metric for metric in self.metrics if metric.name == "loss").update_state(loss)
            logs = self.compute_metrics(*data, y_pred)
        metrics = [scope.get_current_value(variable) for variable in self.metrics_variables]
        return logs, (trainable, others, optimizer, metrics)

random = np.random.default_rng(0)
images, labels = random.integers(0, 256, (8, 16, 16, 1)).astype("float32"), np.arange(8) % 3

def history(network):
    keras.utils.set_random_seed(0)
    model = network({"c": (1, 1, 1), "a": (1, 2, 1)}, "resnet_cifar", num_classes=3, input_shape=(16, 16, 1), width=2)
    model.compile("sgd", metrics=["accuracy"], distillation=EKD(kl_weight=100.0))
    return model.fit(images, labels, batch_size=4, epochs=2, shuffle=False, verbose=0).history

wanted, found = history(DDNN), history(OwnStep)
print(min(wanted["depth_c_kl_loss"]) > 0, all(np.allclose(found[name], wanted[name], rtol=1e-5) for name in wanted))
"""


@pytest.mark.slow
def test_a_step_of_ones_own_distills_on_jax():
    pytest.importorskip("jax")
    assert printed_on("jax", OWN_STEP).split() == ["True", "True"]
