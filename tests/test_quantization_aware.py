"""Quantization-aware networks: what they round, and that their int8 files compute what they computed in training."""

import functools

import keras
import numpy as np
import pytest
from conftest import python
from keras import ops
from small_networks import held_out, subnets, trained_ddnn, training

from ddnn_keras import DDNN, EKD
from ddnn_keras.quantization_aware import (
    FakeQuantization,
    QuantizedKernel,
    fake_quantized,
    is_quantization_aware,
    quantization_aware,
    rounded_kernel,
)
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import parse
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.export import export_subnets
from ddnn_keras.tflite.modes import MODES


@functools.cache
def rounded():
    """A quantization-aware copy of `trained_ddnn` that no test changes."""
    return quantization_aware(trained_ddnn(), training()[0][:32])


@functools.cache
def finetuned():
    """`trained_ddnn`, trained on for an epoch with rounded numbers."""
    images, labels = training()
    model = quantization_aware(trained_ddnn(), images[:64])
    model.compile(keras.optimizers.Adam(1e-4), metrics=["accuracy"], distillation=EKD(), jit_compile=False)
    model.fit(images, labels, batch_size=64, verbose=0)
    return model


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (keras.layers.Conv2D(5, 3), (1, 8, 8, 3), (0, 1, 2)),
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2), (1, 8, 8, 3), (0, 1)),
        (keras.layers.Dense(4), (1, 8), 0),
    ],
)
def test_kernels_are_on_a_grid_of_their_channel(layer, shape, axes):
    layer.build(shape)
    kernel, rounded = np.array(layer.kernel), ops.convert_to_numpy(rounded_kernel(layer))
    step = np.abs(kernel).max(axis=axes, keepdims=True) / 127
    np.testing.assert_allclose(rounded / step, np.rint(kernel / step), atol=1e-4)
    assert np.abs(rounded - kernel).max() > 0
    assert np.unique(np.rint(rounded / step)).size > 10
    layer.kernel.assign(0 * layer.kernel)
    np.testing.assert_array_equal(rounded_kernel(layer), np.zeros(kernel.shape))


def test_activations_keep_256_levels_of_the_range_that_training_saw():
    layer, values = FakeQuantization(), np.linspace(-1, 3, 1001).astype("float32")
    layer(values, training=True)
    rounded = ops.convert_to_numpy(layer(values))
    assert np.unique(rounded).size <= 256
    assert np.abs(rounded - values).max() <= 4 / 255
    assert 0 in rounded  # exactly: padding needs it
    assert ops.convert_to_numpy(layer(np.float32([10.0])))[0] == pytest.approx(3, abs=4 / 255)
    layer(np.float32([5.0]), training=True)  # the mean of two batches
    assert float(layer.high) == pytest.approx(4)
    assert float(layer.low) == pytest.approx(-0.5)


def test_the_copy_has_the_weights_and_nearly_the_outputs_of_the_network():
    images, _ = held_out(200)
    before = trained_ddnn().get_weights()
    model = quantization_aware(trained_ddnn(), training()[0][:64])
    assert is_quantization_aware(model) and not is_quantization_aware(trained_ddnn())
    for layer in (layer for layer in trained_ddnn().layers if layer.weights):
        np.testing.assert_equal(model.get_layer(layer.name).get_weights(), layer.get_weights())
    assert list(model.output) == list(trained_ddnn().output)
    found = model(images)
    for key, expected in trained_ddnn()(images).items():
        assert 0 < np.median(np.abs(found[key] - expected)) < 0.02 * np.abs(expected).max()
    np.testing.assert_equal(trained_ddnn().get_weights(), before)


def test_ranges_begin_with_the_mean_of_batches_that_fit_into_memory():
    images = training()[0][:64].copy()
    images[32:] /= 2
    model = quantization_aware(trained_ddnn(), images)
    first = next(layer for layer in model.layers if isinstance(layer, FakeQuantization))
    assert int(first.batches) == 2
    extremes = [keras.ops.max(keras.Model(model.input, first.input)(part)) for part in (images[:32], images[32:])]
    assert float(first.high) == pytest.approx(np.mean(extremes), rel=1e-5)


def test_a_product_with_a_number_as_in_mobilenet_v3():
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2)(image)
    x = keras.layers.Add()([x, keras.layers.Conv2D(4, 3, padding="same")(x) * (1 / 6)])
    source = keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)))
    model = DDNN.from_keras(source, depths=1, preprocessing=None)
    images = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    (found,), (wanted,) = (network(images).values() for network in (quantization_aware(model, images), model))
    np.testing.assert_allclose(found, wanted, atol=0.05 * np.abs(wanted).max())


def test_a_frozen_network_computes_the_same_and_nothing_of_it_moves():
    model, images = quantization_aware(trained_ddnn(), training()[0][:32]), held_out(20)[0]
    model.trainable, before = False, model.get_weights()
    for key, logits in model(images).items():
        np.testing.assert_array_equal(logits, rounded()(images)[key])
    model(images / 2, training=True)
    np.testing.assert_equal(model.get_weights(), before)


def test_a_global_policy_of_half_precision_rounds_nothing_else(tmp_path):
    images = held_out(20)[0]
    rounded().save(tmp_path / "model.keras")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        made = quantization_aware(trained_ddnn(), training()[0][:32])
        loaded = keras.saving.load_model(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(before)
    for other in (made, loaded):
        # Keras' input has the global policy, and casts nothing.
        assert {layer.compute_dtype for layer in other.layers[1:]} == {"float32"}
        for key, logits in other(images).items():
            np.testing.assert_array_equal(logits, rounded()(images)[key])


@pytest.mark.slow
def test_a_network_learns_on_and_the_full_net_teaches():
    logs = finetuned().evaluate(*held_out(), return_dict=True, verbose=0)
    assert logs["depth_8_kl_loss"] > 0
    assert min(logs["depth_8_accuracy"], logs["depth_14_accuracy"]) > 0.95


@pytest.mark.slow
def test_int8_files_compute_what_the_network_did(tmp_path):
    model, (images, labels) = finetuned(), held_out(397)
    for depth in model.depths:
        path, subnet = tmp_path / f"{depth}.tflite", model.subnet(depth)
        arguments = {"calibration_images": training()[0][:100], "images": images, "labels": labels, "facts": {}}
        (verification,) = export_subnets(subnet, path, quantize="int8", **arguments).values()
        assert verification.argmax_agreement > 0.99
        lite = LiteModel(path)
        errors = np.abs(lite(images) - subnet.predict(images, verbose=0))
        assert np.median(errors) < 1.5 * lite.output.scale


@pytest.mark.slow
def test_int8_weights_of_all_depths_match_exactly():
    kernels = {}
    for signature, subnet in subnets(finetuned()).items():
        tree = parse(convert(subnet, MODES["int8"], training()[0][:50]))
        tensors = [tensor for tensor in tree.subgraphs[0].tensors if len(tensor.shape) == 4]
        constants = [tree.buffers[tensor.buffer].data for tensor in tensors]
        kernels[signature] = [data.tobytes() for data in constants if data is not None]
    assert len(kernels["depth_8"]) == 9
    assert set(kernels["depth_8"]) <= set(kernels["depth_14"])


@pytest.mark.slow
def test_a_saved_network_goes_on(tmp_path):
    model, (images, labels) = finetuned(), training()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, logits in model.predict(images[:32], verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(images[:32], verbose=0)[key], logits)
    loaded.fit(images[:64], labels[:64], verbose=0)
    subnet = model.subnet(8)
    subnet.save(tmp_path / "subnet.keras")
    again = keras.saving.load_model(tmp_path / "subnet.keras")
    np.testing.assert_array_equal(again.predict(images[:8], verbose=0), subnet.predict(images[:8], verbose=0))


@pytest.mark.parametrize(
    ("backbone", "depths", "size"),
    [
        ("mobilenet_v2", (23, 38), 16),
        pytest.param("efficientnet_lite", (7, 12), 16, marks=pytest.mark.slow),
        pytest.param("vgg", (11, 13), 32, marks=pytest.mark.slow),
        pytest.param("resnet_bottleneck", (26, 50), 16, marks=pytest.mark.slow),
    ],
)
def test_every_family(backbone, depths, size):
    model = DDNN(depths, backbone=backbone, width=8, input_shape=(size, size, 3))
    images = np.random.default_rng(0).uniform(0, 255, (4, size, size, 3)).astype("float32")
    copy = quantization_aware(model, images)
    # All that convolutions and additions read is rounded, on each path.
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Add | QuantizedKernel):
            assert layer._inbound_nodes
            for node in layer._inbound_nodes:
                for tensor in node.input_tensors:
                    assert rounds_or_passes_on(tensor), f"{layer.name} reads {tensor}"
    assert all(np.isfinite(logits).all() for logits in copy(images).values())


@pytest.mark.parametrize(
    ("activation", "is_fused"),
    [
        (keras.layers.Activation("relu"), True),
        (keras.layers.ReLU(6), True),
        (keras.layers.Activation("swish"), False),
        (keras.layers.ReLU(negative_slope=0.1), False),
        (keras.layers.ReLU(max_value=4), False),
    ],
)
def test_what_tflite_computes_in_an_operator_of_its_own_reads_rounded_numbers(activation, is_fused):
    image = keras.Input((8, 8, 1))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(image))
    image, output = fake_quantized(image, keras.layers.Conv2D(4, 3)(activation(x)))
    read = next(layer for layer in keras.Model(image, output).layers if layer.name == activation.name).input
    assert isinstance(read._keras_history.operation, FakeQuantization) is not is_fused


def rounds_or_passes_on(tensor):
    """Whether a tensor comes from a fake quantization, with nothing but routing in between; or is the image."""
    operation = tensor._keras_history.operation
    if isinstance(operation, FakeQuantization | keras.layers.InputLayer):
        return True
    routing = (keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D, keras.layers.Flatten, keras.layers.Dropout)
    return isinstance(operation, routing) and rounds_or_passes_on(operation.input)


@pytest.mark.slow
def test_it_trains_on_jax():
    program = """
import keras, numpy as np
from ddnn_keras import DDNN, EKD
from ddnn_keras.quantization_aware import FakeQuantization, quantization_aware
images, labels = np.random.default_rng(0).uniform(0, 255, (16, 16, 16, 1)), np.arange(16) % 10
model = DDNN((8, 14), "resnet_cifar", width=4, input_shape=(16, 16, 1))
model = quantization_aware(model, images)
model.compile("adam", distillation=EKD())
model.fit(images, labels, batch_size=8, epochs=1, verbose=0)
print({float(layer.batches) for layer in model.layers if isinstance(layer, FakeQuantization)})
"""
    assert python(program, KERAS_BACKEND="jax") == "{3.0}\n"


def test_mistakes():
    images = training()[0][:8]
    with pytest.raises(ValueError, match=r"^`model` must be a ddnn_keras\.DDNN\. Received: model=<Functional"):
        quantization_aware(trained_ddnn().subnet(8), images)
    with pytest.raises(ValueError, match=r"^`model` must not be quantization-aware yet\. Received: model=<DDNN"):
        quantization_aware(rounded(), images)
    with pytest.raises(ValueError, match=r"^`images` must be raw pixels from 0 to 255\. Received: values from nan"):
        quantization_aware(trained_ddnn(), np.full((2, 16, 16, 1), np.nan))
    with pytest.raises(ValueError, match=r"^`dtype` must be float32 with `quantization_aware`\. Received: dtype='mi"):
        DDNN((8,), "resnet_cifar", quantization_aware=True, dtype="mixed_bfloat16")
    for quantize in ("none", "dynamic"):
        with pytest.raises(ValueError, match=r"^`quantize` must be 'int8' for a quantization-aware network\. Received"):
            convert(rounded().subnet(8), MODES[quantize])
