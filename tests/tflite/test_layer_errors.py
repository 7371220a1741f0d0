"""Integer files layer by layer: named as in Keras, close to the float network, worst where rounding is coarsest."""

import dataclasses

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from small_networks import converted, held_out, subnets, tiny_net, trained_ddnn, trained_net, training

from ddnn_keras import DDNN
from ddnn_keras.quantization_aware import FakeQuantization
from ddnn_keras.runtime.tflite_file import parse
from ddnn_keras.tflite.bundle import convert_bundle
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.export import check_kept
from ddnn_keras.tflite.layer_errors import layer_errors
from ddnn_keras.tflite.mixed_precision import layers_to_keep, num_correct
from ddnn_keras.tflite.modes import MODES, mode_named
from ddnn_keras.tflite.verify import VerificationError, verify


def test_every_layer_of_a_bundles_depth(bundle):
    images, _ = held_out(20)
    errors = layer_errors(bundle.read_bytes(), converted("none"), trained_net(), images, "depth_8")
    names = [found.name for found in errors]
    with_weights = [layer.name for layer in trained_net().layers[:-1] if hasattr(layer, "kernel")]
    assert set(with_weights) < set(names)
    assert names[-1] == "logits" and names[0].startswith("image ")
    for found in errors:
        assert 15 < found.snr < 60
        assert 0 <= found.added < 0.05
        assert 0 <= found.cut_off < 0.05


@pytest.fixture(scope="module")
def unbalanced():
    """The `trained_net` with the same logits, in which one channel has 10,000 times the others' range."""
    subnet = keras.models.clone_model(trained_net())
    subnet.set_weights(trained_net().get_weights())
    normalization, convolution = (subnet.get_layer(f"stage1_block1_{name}") for name in ("bn1_depth_14", "conv2"))
    gamma, beta, *statistics = normalization.get_weights()
    kernel, *bias = convolution.get_weights()
    gamma[0], beta[0], kernel[:, :, 0] = gamma[0] * 1e4, beta[0] * 1e4, kernel[:, :, 0] / 1e4
    normalization.set_weights([gamma, beta, *statistics])
    convolution.set_weights([kernel, *bias])
    return subnet


def test_the_layer_to_blame(unbalanced):
    content = convert(unbalanced, MODES["int8"], training()[0][:100])
    errors = layer_errors(content, convert(unbalanced), unbalanced, held_out(20)[0])
    worst = max(errors, key=lambda found: found.added)
    assert worst.name == "stage1_block1_conv1"
    assert worst.snr < 3


@pytest.fixture(scope="module")
def sources_net():
    """A network with Keras' own names, which TensorFlow's for repeated layers resemble, and layers of two operators."""
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3, name="conv2d")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Conv2D(5, 3, name="conv2d_1", activation="relu")(x)
    x = keras.layers.SeparableConv2D(6, 3, name="separable_conv2d", activation="relu")(x)
    x = keras.layers.Dense(7, name="dense", activation="relu")(x)
    return keras.Model(image, keras.layers.Dense(10, name="dense_1")(keras.layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("name", ["conv2d", "conv2d_1", "separable_conv2d", "dense", "logits"])
def test_a_layer_that_is_kept_has_float_kernels(name, sources_net):
    check_kept([name], {"serving_default": sources_net})
    tree = parse(convert(sources_net, mode_named("int8", kept=[name]), held_out(10)[0]))
    floats = [tensor for tensor in tree.subgraphs[0].tensors if tensor.type == schema.TensorType.FLOAT32]
    kernels = {np.prod(tensor.shape) for tensor in floats if tree.buffers[tensor.buffer].data is not None}
    layer = sources_net.get_layer("dense_1" if name == "logits" else name)
    assert {np.size(weight) for weight in layer.weights if "kernel" in weight.name} <= kernels
    others = [weight for other in sources_net.layers if other is not layer for weight in other.weights]
    assert not kernels & {np.size(weight) for weight in others if "kernel" in weight.name}


def test_what_is_cut_off():
    """In a file that converts its input and output, too."""
    subnet, dark = tiny_net(), training()[0][:20] / 8
    content = convert(subnet, mode_named("int8", "float32"), dark)
    first, *_ = layer_errors(content, convert(subnet), subnet, held_out(20)[0])
    assert (first.name, first.cut_off > 0.1) == (subnet.layers[2].name, True)


def test_another_network():
    with pytest.raises(ValueError, match=r"^`content` must hold the operators of `float_content`\. Received"):
        layer_errors(converted("int8"), converted("none", 14), trained_net(14), held_out(1)[0])


@pytest.mark.slow
def test_a_bundle_with_kept_layers_is_verified_and_stores_them_once():
    mode, (images, labels) = mode_named("int8", "int8", ["stem_conv", "logits"]), held_out()
    content = convert_bundle(subnets(trained_ddnn()), mode, training()[0][:100])
    for signature, subnet in subnets(trained_ddnn()).items():
        found = verify(content, subnet, images, labels, mode, signature)
        assert found.argmax_agreement > 0.95
    plain = convert_bundle(subnets(trained_ddnn()), mode_named("int8"), training()[0][:100])
    kernel = np.size(trained_ddnn().get_layer("stem_conv").kernel)
    heads = sum(np.size(subnet.layers[-1].kernel) for subnet in subnets(trained_ddnn()).values())
    # Three bytes more for each weight, those of the stem once; and some for operators.
    assert 3 * (kernel + heads) < len(content) - len(plain) < 3 * (kernel + heads) + 4000
    with pytest.raises(VerificationError, match="FLOAT32"):
        verify(content, subnet, images, labels, dataclasses.replace(mode, tensor_types=MODES["int8"].tensor_types))


@pytest.mark.slow
def test_as_few_layers_as_needed(unbalanced):
    """Two: between them the channels differ. Either alone would round there."""
    (images, labels), calibration_images, mode = held_out(100), training()[0][:100], mode_named("int8")
    assert num_correct(convert(unbalanced, mode, calibration_images), images, labels) < 60
    kept = layers_to_keep({"depth_8": unbalanced}, mode, calibration_images, images, labels, max_drop=0.02)
    assert kept == ["stage1_block1_conv1", "stage1_block1_conv2"]
    mixed = convert(unbalanced, mode_named("int8", kept=kept), calibration_images)
    assert num_correct(mixed, images, labels) >= 97
    assert layers_to_keep({"depth_8": trained_net()}, mode, calibration_images, images, labels, max_drop=0.02) == []


def test_a_network_that_does_nothing_to_pixels():
    subnet = DDNN((8,), "resnet_cifar", width=2, input_shape=(16, 16, 1), pixel_mean=0, pixel_std=1).subnet(8)
    images, labels = held_out(20)
    assert layers_to_keep({"depth_8": subnet}, mode_named("int8"), images, images, labels, max_drop=1.0) == []


def test_mistakes():
    with pytest.raises(ValueError, match=r"^`keep` must be layers among stem_conv, .*logits\. Received: stem"):
        check_kept(["stem"], {"serving_default": trained_net()})
    with pytest.raises(ValueError, match=r"^`keep` must go with int8\. Received: keep=stem_conv with float16"):
        mode_named("float16", kept=["stem_conv"])
    image = keras.Input((8, 8, 1))
    rounding = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(FakeQuantization()(image))))
    with pytest.raises(ValueError, match=r"^`keep` and `max_drop` must not be given for"):
        convert(rounding, mode_named("int8", kept=["logits"]), np.zeros((1, 8, 8, 1)))
