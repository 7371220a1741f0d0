import collections

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.training.tensorflow_speed import SGD, fuse_normalization

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 16, 16, 1)).astype("float32")
LABELS = np.arange(6) % 3


class CountedSteps(DDNN):
    """Counts how often Keras calls for a step: once for each trace."""

    count = 0

    def train_step(self, *args):
        self.count += 1
        return super().train_step(*args)


def tiny_network(network=DDNN, **arguments):
    keras.utils.set_random_seed(0)
    settings = {"backbone": "resnet_cifar", "width": 2, "num_classes": 3, "input_shape": (16, 16, 1)}
    return network({8: (1, 1, 1), 14: (1, 2, 1)}, **{**settings, **arguments})


def fitted(labels=LABELS, **compile_arguments):
    model = tiny_network(CountedSteps)
    settings = {"optimizer": "adam", "metrics": ["accuracy"], "distillation": EKD(), "jit_compile": False}
    model.compile(**{**settings, **compile_arguments})
    assert not any(np.any(variable) for metric in model.metrics for variable in metric.variables)
    model.fit(IMAGES, labels, batch_size=3, shuffle=False, verbose=0)
    return model


class Seen(keras.metrics.Sum):
    """How many samples there were in all epochs."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(keras.ops.ones_like(y_pred[:, 0]))

    def reset_state(self):
        pass


def test_the_step_is_traced_once_and_a_metric_counts_real_samples_alone():
    model = fitted(metrics=[Seen("seen")])
    assert model.count == 1
    assert float(model.get_metrics_result()["depth_8_seen"]) == len(IMAGES)


@pytest.mark.parametrize(
    ("loss", "traces"), [("categorical_crossentropy", 1), pytest.param("mse", 2, marks=pytest.mark.slow)]
)
def test_other_losses(loss, traces):
    """What is no cross-entropy is left to Keras."""
    model = fitted(np.eye(3, dtype="float32")[LABELS], loss=loss, distillation=None, weighted_metrics=["accuracy"])
    assert model.count == traces
    assert set(model.get_metrics_result()) >= {"loss", "depth_8_loss", "depth_14_accuracy"}


def test_an_optimizer_serves_what_is_trained_first():
    """As with Keras' own models, and not what was compiled with it while layers were frozen."""
    optimizer = keras.optimizers.Adam()
    tiny_network().compile(optimizer)
    model = tiny_network()
    model.trainable = False
    model.compile(optimizer)
    model.trainable = True
    model.compile(optimizer, jit_compile=False)
    model.late = model.add_weight(shape=(), name="late")
    model.fit(IMAGES, LABELS, verbose=0)
    assert len(optimizer.variables) == 2 + 2 * len(model.trainable_variables)


def test_a_network_can_be_compiled_to_be_evaluated_alone():
    model = tiny_network()
    model.compile(optimizer=None, metrics=["accuracy"], jit_compile=False)
    assert 0 <= model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)["depth_8_accuracy"] <= 1


def test_a_loss_scale_outlasts_saving(tmp_path):
    model = tiny_network(dtype="mixed_float16")
    model.compile("adam", jit_compile=False)
    model.fit(IMAGES, LABELS, batch_size=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # Keras' own counts its variables twice if it is built twice, and then loads none.
    for found, wanted in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_losses_of_layers_do_not_hinder_another_compilation():
    model = tiny_network()
    model.get_layer("stem_conv").activity_regularizer = keras.regularizers.L2(0.1)
    for _ in range(2):
        model.compile("sgd", distillation=EKD(), jit_compile=False)
        model.fit(IMAGES, LABELS, verbose=0)
    logs = model.evaluate(IMAGES, LABELS, return_dict=True, verbose=0)
    assert logs["loss"] > logs["depth_8_loss"] + logs["depth_14_loss"] + logs["depth_8_kl_loss"] + 1


# Of values of size 1 to 10. 16-bit activations are rounded once more.
TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 0.04, "mixed_float16": 0.01}


def normalizations(shape, **arguments):
    """Two built layers with scales and offsets of their own: Keras', and one that is fused where that is possible."""
    scale = keras.initializers.RandomUniform(0.5, 2.0, seed=1)
    arguments = {"momentum": 0.9, "epsilon": 1e-5, "gamma_initializer": scale, "beta_initializer": "ones", **arguments}
    layers = [keras.layers.BatchNormalization(**arguments) for _ in range(2)]
    for layer in layers:
        layer.build(shape)
    fuse_normalization(layers[1:])
    return layers


def pass_through(layer, images, **arguments):
    """What a layer makes of images, the gradients of some loss, and its variables after that."""
    images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        normalized = layer(images, **arguments)
        loss = tf.reduce_mean(tf.sin(tf.cast(normalized, "float32")))
    trained = [variable.value for variable in layer.trainable_variables]
    gradients = [gradient for gradient in tape.gradient(loss, [images, *trained]) if gradient is not None]
    return [np.array(tf.cast(value, "float32")) for value in (normalized, *gradients, *layer.variables)]


def check_same(layers, images, tolerance=0.0, **arguments):
    wanted, found = (pass_through(layer, images, **arguments) for layer in layers)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (1, 1, 1, 2), (64, 16, 16, 16)])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(dtype, autocast, shape):
    images = np.random.default_rng(0).normal(3, 2, shape).astype("float32")
    layers = normalizations(shape, dtype=dtype, autocast=autocast)
    assert len({layer(images).dtype for layer in layers}) == 1
    check_same(layers, images, TOLERANCE[dtype], training=True)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 3, 5, 2), {"axis": 1}),
        ((4, 6), {}),
        ((4, 3, 3, 2), {"scale": False}),
        ((4, 3, 3, 2), {"center": False}),
        ((4, 3, 3, 2), {"renorm": True}),
        ((4, 3, 3, 2), {"synchronized": True}),
        ((4, 3, 3, 2), {"dtype": "float64"}),
        ((4, 3, 3, 2), {"dtype": "bfloat16"}),
    ],
)
def test_what_the_kernel_cannot_do_is_left_to_keras(shape, arguments):
    check_same(normalizations(shape, **arguments), np.random.default_rng(0).normal(3, 2, shape), training=True)


def test_inference_frozen_layers_and_masks_are_left_to_keras():
    images = np.random.default_rng(0).normal(3, 2, (4, 3, 3, 2)).astype("float32")
    layers = normalizations(images.shape)
    check_same(layers, images, training=False)
    np.testing.assert_array_equal(layers[1].moving_mean, 0)
    check_same(layers, images, training=True, mask=tf.constant(images[..., 0] > 3))
    for layer in layers:
        layer.trainable = False
    check_same(layers, images, training=True)


@pytest.mark.slow
def test_a_step_has_one_kernel_for_each_normalisation_but_under_xla():
    model = tiny_network()
    batch = tf.constant(IMAGES), tf.constant(LABELS)
    normalizations = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert normalizations > 10
    for jit_compile in (False, True, False):
        model.compile("sgd", distillation=EKD(), jit_compile=jit_compile)
        graph = tf.function(model.train_step).get_concrete_function(batch).graph.as_graph_def()
        nodes = [*graph.node, *(node for called in graph.library.function for node in called.node_def)]
        found = collections.Counter(node.op for node in nodes)
        assert found["FusedBatchNormV3"] == found["FusedBatchNormGradV3"] == (0 if jit_compile else normalizations)


def dense_network(optimizer, **compile_arguments):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    model.compile(optimizer, "mse", jit_compile=False, **compile_arguments)
    random = np.random.default_rng(0)
    model.fit(random.normal(size=(12, 3)), random.normal(size=(12, 2)), batch_size=4, epochs=3, verbose=0)
    return model


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_sgd_does_what_keras_own_does(run_eagerly, tmp_path):
    schedule = keras.optimizers.schedules.CosineDecay(0.0, decay_steps=7, warmup_target=0.1, warmup_steps=2)
    arguments = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "clipnorm": 1.0}
    ours, keras_own = (
        dense_network(optimizer(schedule, **arguments), run_eagerly=run_eagerly)
        for optimizer in (SGD, keras.optimizers.SGD)
    )
    for found, wanted in zip(ours.get_weights(), keras_own.get_weights(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert float(ours.optimizer.learning_rate) == float(keras_own.optimizer.learning_rate)
    ours.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert type(loaded) is SGD and int(loaded.iterations) == 9 and loaded.weight_decay == 0.1


def test_the_schedule_is_asked_once_a_step_whatever_the_number_of_variables():
    class Decay(keras.optimizers.schedules.CosineDecay):
        def __call__(self, step):
            asked.append(step)
            return super().__call__(step)

    asked = []
    optimizer = SGD(Decay(0.1, decay_steps=9), weight_decay=0.1)
    variables = [keras.Variable(np.ones(2, "float32")) for _ in range(7)]
    optimizer.build(variables)
    before = len(asked)
    optimizer.apply([keras.ops.ones(2)] * 7, variables)
    assert len(asked) == before + 1


def test_a_rate_without_a_schedule_can_be_set():
    optimizer = SGD(0.1, weight_decay=0.5)
    variable = keras.Variable(np.ones(1, "float32"))
    for rate, expected in ((0.1, 0.95), (0.2, 0.95 * 0.9)):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.zeros(1)], [variable])
        np.testing.assert_allclose(variable.numpy(), [expected], rtol=1e-6)
