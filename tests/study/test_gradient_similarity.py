"""recipes/study/gradient_similarity.py: what it computes, and how a user runs it."""

import keras
import numpy as np
from gradient_similarity import mean_gradients, similarity

from ddnn_keras import DDNN, EKD

SCRIPT = "recipes/study/gradient_similarity.py"


def test_size_and_cosine_are_those_of_the_vectors():
    gradients = {"opposite": [-6.0, -8.0], "across": [4.0, -3.0], "last": [3.0, 4.0]}
    rows = similarity({name: np.array(vector) for name, vector in gradients.items()})
    assert rows == {"opposite": (2.0, -1.0), "across": (1.0, 0.0), "last": (1.0, 1.0)}


def test_gradients_are_those_that_training_applies_to_shared_weights():
    """A step of plain descent at a rate of 1 subtracts the sum of all losses' gradients."""
    keras.utils.set_random_seed(0)
    model = DDNN((8, 14), "resnet_cifar", width=2, input_shape=(8, 8, 1))
    random = np.random.default_rng(0)
    images, labels = random.uniform(0, 255, (16, 8, 8, 1)).astype("float32"), random.integers(0, 10, 16)
    gradients = mean_gradients(model, [(images, labels)])
    assert list(gradients) == [("depth_8", "cross-entropy"), ("depth_8", "KL"), ("depth_14", "cross-entropy")]
    model.compile(keras.optimizers.SGD(1.0), distillation=EKD(attention_weight=0), run_eagerly=True)
    subnets = [{variable.path for variable in model.subnet(depth).trainable_variables} for depth in (8, 14)]
    shared = [variable for variable in model.trainable_variables if variable.path in set.intersection(*subnets)]
    before = np.concatenate([np.ravel(variable) for variable in shared])
    model.train_on_batch(images, labels)
    after = np.concatenate([np.ravel(variable) for variable in shared])
    np.testing.assert_allclose(before - after, sum(gradients.values()), rtol=1e-3, atol=1e-5)


def test_a_run(printed, finished_run):
    shown = printed(SCRIPT, finished_run, "--batches", 2)
    rows = [line.replace("│", " ").split() for line in shown.splitlines() if "│" in line]
    assert [row[:2] for row in rows] == [["10", "cross-entropy"], ["10", "KL"], ["18", "cross-entropy"]]
    assert rows[-1][2:] == ["1.00", "+1.00"]
    assert all(float(size) > 0 and -1 <= float(cosine) <= 1 for _, _, size, cosine in rows)


def test_mistakes(mistake, tmp_path):
    assert "holds no run" in mistake(SCRIPT, tmp_path)
    assert "argument --batches" in mistake(SCRIPT, tmp_path, "--batches", 0)


def test_another_backend(mistake, finished_run, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert mistake(SCRIPT, finished_run).endswith("Needs KERAS_BACKEND=tensorflow. Received: jax")
