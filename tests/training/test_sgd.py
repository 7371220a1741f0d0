"""ddnn_keras.SGD."""

import keras
import numpy as np
import pytest

from ddnn_keras.training.tensorflow_speed import SGD


class CountedDecay(keras.optimizers.schedules.CosineDecay):
    """A schedule that counts how often it is asked."""

    count = 0

    def __call__(self, step):
        self.count += 1
        return super().__call__(step)


def trained(optimizer, **compile_arguments):
    """A small network after some steps, and its optimizer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", **compile_arguments)
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(12, 3)), random.normal(size=(12, 2)), batch_size=4, epochs=3, verbose=0)
    return model


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_it_does_what_keras_own_does(run_eagerly):
    def schedule():
        return keras.optimizers.schedules.CosineDecay(0.0, decay_steps=7, warmup_target=0.1, warmup_steps=2)

    arguments = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "clipnorm": 1.0}
    ours = trained(SGD(schedule(), **arguments), run_eagerly=run_eagerly)
    keras_own = trained(keras.optimizers.SGD(schedule(), **arguments), run_eagerly=run_eagerly)
    for found, wanted in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert int(ours.optimizer.iterations) == 9
    assert float(ours.optimizer.learning_rate) == float(keras_own.optimizer.learning_rate)


def test_the_schedule_is_asked_once_a_step_whatever_the_number_of_variables():
    optimizer = SGD(CountedDecay(0.1, decay_steps=9), weight_decay=0.1)
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(7)]
    optimizer.build(variables)
    before = optimizer._learning_rate.count
    optimizer.apply([keras.ops.ones(2)] * 7, variables)
    assert optimizer._learning_rate.count == before + 1


def test_a_rate_without_a_schedule_can_be_set():
    optimizer = SGD(0.1, weight_decay=0.5)
    variable = keras.Variable(np.ones(1, "float32"))
    optimizer.apply([keras.ops.zeros(1)], [variable])
    np.testing.assert_allclose(variable.numpy(), [0.95])
    optimizer.learning_rate = 0.2
    optimizer.apply([keras.ops.zeros(1)], [variable])
    np.testing.assert_allclose(variable.numpy(), [0.95 * 0.9], rtol=1e-6)


def test_a_saved_network_has_it_again(tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.1, decay_steps=9)
    trained(SGD(schedule, weight_decay=0.1)).save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(loaded) is SGD and int(loaded.iterations) == 9 and loaded.weight_decay == 0.1
