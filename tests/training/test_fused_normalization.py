"""Batch normalisation in one kernel is the function that it was."""

import collections

import keras
import numpy as np
import pytest

from ddnn_keras import DDNN, EKD
from ddnn_keras.training.tensorflow_speed import fuse_normalization

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")

# Of values of size 1 to 10: the roundings of both formulae, of which 16-bit activations get the last one.
TOLERANCE = {"float32": 2e-5, "mixed_bfloat16": 0.04, "mixed_float16": 0.01}


def normalization(shape, fused, **arguments):
    """A built layer with scales and offsets of its own."""
    scale = keras.initializers.RandomUniform(0.5, 2.0, seed=1)
    arguments = {"momentum": 0.9, "epsilon": 1e-5, "gamma_initializer": scale, "beta_initializer": "ones", **arguments}
    layer = keras.layers.BatchNormalization(**arguments)
    layer.build(shape)
    if fused:
        fuse_normalization([layer])
    return layer


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


def operations(function, *arguments):
    """How often each of TensorFlow's operations is in the graph of a function, and in what that calls."""
    graph = function.get_concrete_function(*arguments).graph.as_graph_def()
    nodes = [*graph.node, *(node for called in graph.library.function for node in called.node_def)]
    return collections.Counter(node.op for node in nodes)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(4, 3, 5, 7), (1, 1, 1, 2), (2, 1, 1, 3), (64, 16, 16, 16)])
def test_outputs_gradients_and_moving_statistics_are_those_of_keras(dtype, shape):
    images = np.random.default_rng(0).normal(3, 2, shape).astype("float32")
    layers = [normalization(shape, fused, dtype=dtype) for fused in (False, True)]
    wanted, found = (pass_through(layer, images, training=True) for layer in layers)
    assert len(found) == len(wanted) == 1 + 3 + 4
    for one, other in zip(found, wanted):
        np.testing.assert_allclose(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert {layer(images, training=True).dtype.name for layer in layers} == {layers[0].compute_dtype}


def test_statistics_that_are_no_batchs_are_used_as_before():
    images = np.random.default_rng(0).normal(3, 2, (4, 3, 3, 2)).astype("float32")
    frozen = [normalization(images.shape, fused) for fused in (False, True)]
    for layer in frozen:
        layer.trainable = False
    for layers, training in ((frozen, True), ([normalization(images.shape, fused) for fused in (False, True)], False)):
        wanted, found = (pass_through(layer, images, training=training) for layer in layers)
        for one, other in zip(found, wanted):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(layers[1].moving_mean, 0)


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
    ],
)
def test_what_the_kernel_cannot_do_is_left_to_keras(shape, arguments):
    images = np.random.default_rng(0).normal(3, 2, shape)
    layers = [normalization(shape, fused, **arguments) for fused in (False, True)]
    wanted, found = (pass_through(layer, images, training=True) for layer in layers)
    for one, other in zip(found, wanted):
        np.testing.assert_array_equal(one, other)


class Halved(keras.layers.BatchNormalization):
    """A normalisation of one's own."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask) / 2


def test_a_normalisation_of_ones_own_is_left_as_it_is():
    images = np.random.default_rng(0).normal(3, 2, (4, 3, 3, 2)).astype("float32")
    layers = [Halved(), Halved()]
    layers[0].build(images.shape)
    fuse_normalization([layers[0]])
    wanted, found = (np.array(layer(images, training=True)) for layer in layers)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_activations_that_keras_does_not_cast(dtype):
    images = np.random.default_rng(0).normal(3, 2, (4, 3, 3, 2)).astype("float32")
    layers = [normalization(images.shape, fused, dtype=dtype, autocast=False) for fused in (False, True)]
    wanted, found = (layer(tf.constant(images), training=True) for layer in layers)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(
        tf.cast(found, "float32"), tf.cast(wanted, "float32"), rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype]
    )


def test_a_mask_is_left_to_keras():
    images = np.random.default_rng(0).normal(3, 2, (4, 3, 3, 2)).astype("float32")
    mask = np.random.default_rng(1).integers(0, 2, (4, 3, 3)).astype(bool)
    layers = [normalization(images.shape, fused) for fused in (False, True)]
    wanted, found = (np.array(layer(images, training=True, mask=mask)) for layer in layers)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_has_one_kernel_for_each_normalisation_but_under_xla(jit_compile):
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, input_shape=(8, 8, 1))
    model.compile("sgd", distillation=EKD(), jit_compile=jit_compile)
    batch = tf.zeros((4, 8, 8, 1)), tf.zeros(4, "int64")
    found = operations(tf.function(model.train_step), batch)
    normalizations = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert normalizations > 10
    kernels = 0 if jit_compile else normalizations
    assert found["FusedBatchNormV3"] == found["FusedBatchNormGradV3"] == kernels


def test_another_compilation_gives_xla_what_is_keras():
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, input_shape=(8, 8, 1))
    batch = tf.zeros((4, 8, 8, 1)), tf.zeros(4, "int64")
    kernels = []
    for jit_compile in (False, True, False):
        model.compile("sgd", jit_compile=jit_compile)
        kernels.append(operations(tf.function(model.train_step), batch)["FusedBatchNormV3"])
    assert kernels[0] == kernels[2] > 10
    assert kernels[1] == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_scales_in_half_precision_are_left_to_keras(dtype):
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, num_classes=3, input_shape=(8, 8, 1), dtype=dtype)
    model.compile("sgd", jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 1))
    assert np.isfinite(model.fit(images, np.arange(8) % 3, verbose=0).history["loss"]).all()


def test_a_trained_network_is_made_of_layers_of_keras():
    model = DDNN((8, 14), backbone="resnet_cifar", width=2, input_shape=(8, 8, 1))
    model.compile("sgd", distillation=EKD())
    assert "ddnn_keras" not in str(model.subnet(14).get_config())
