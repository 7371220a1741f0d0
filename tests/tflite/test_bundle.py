"""Bundles: every depth does what its own file does, in hardly more bytes than the full-net's."""

import keras
import numpy as np
import pytest
from small_networks import bundled, held_out, residual_net, subnets, trained_ddnn, training

from ddnn_keras import DDNN
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import parse
from ddnn_keras.tflite.bundle import concatenate, convert_bundle
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import verify
from ddnn_keras.tflite.weight_sharing import Graph, share_weights

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("bundle")


def bytes_of_weights(content):
    """How many bytes the kernels of all convolutions and dense layers take, each stored one once."""
    tree = parse(content)
    return sum(len(tree.buffers[buffer].data) for buffer in set().union(*stored_weights(content)))


def stored_weights(content):
    """For each signature, the buffers that its convolutions and dense layers read."""
    tree = parse(content)
    return [
        [weighted.tensor.buffer for weighted in Graph(tree, subgraph).weighted_operators()]
        for subgraph in tree.subgraphs
    ]


# The others differ from these two in what the converter makes of one depth, not in how depths share.
@pytest.mark.parametrize(
    "quantize",
    ["none", "int8", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("float16", "dynamic", "int16x8"))],
)
def test_every_depth_is_there_and_every_weight_once(quantize):
    content, full_net = bundled(quantize), convert(trained_ddnn().subnet(14), quantize, training()[0][:100])
    for signature, subnet in subnets(trained_ddnn()).items():
        assert verify(content, subnet, *held_out(), quantize, signature).keras_accuracy > 0.9
    shallow, deep = stored_weights(content)
    *convolutions, classifier = shallow
    assert set(convolutions) < set(deep)
    assert classifier not in deep
    # To the byte: all weights of the full-net, and the other depth's classifier, which in `none` are not folded.
    tree = parse(content)
    assert bytes_of_weights(content) == bytes_of_weights(full_net) + len(tree.buffers[classifier].data)
    # What each depth has of its own, scales and biases and operators, is much beside so few weights.
    assert len(content) < 1.3 * len(full_net)
    # Only the others follow the full-net.
    images, _ = held_out(20)
    np.testing.assert_array_equal(LiteModel(content, "depth_14")(images), LiteModel(full_net)(images))


def scaled(change):
    """A network in which `change` made something of every normalisation's scale."""
    keras.utils.set_random_seed(1)
    model = DDNN((8, 14), "resnet_cifar", input_shape=(16, 16, 1), width=16)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(change(layer.name, random.uniform(0.5, 1.5, layer.gamma.shape)))
    return model


@pytest.mark.parametrize("quantize", ["int8", pytest.param("none", marks=pytest.mark.slow)])
def test_a_channel_that_a_depth_switched_off_is_stored_with_the_others(quantize):
    def switch_off(name, gamma):
        gamma[0 if name.endswith("depth_8") else 1] = 0
        gamma[2 if name.endswith("depth_8") else 3] = 1e-8
        return gamma

    model = scaled(switch_off)
    content = convert_bundle(subnets(model), quantize, training()[0][:50])
    shallow, deep = stored_weights(content)
    assert set(shallow[:-1]) < set(deep)
    for signature, subnet in subnets(model).items():
        verify(content, subnet, *held_out(), quantize, signature)


@pytest.mark.parametrize("quantize", ["none", pytest.param("float16", marks=pytest.mark.slow)])
def test_a_filter_of_zeros_keeps_no_weights_apart(quantize):
    model = scaled(lambda name, gamma: gamma)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            kernel[..., 0] = 0  # in the first channel, which tells most weights apart
            kernel[..., 5] = 0
            layer.kernel.assign(kernel)
    content = convert_bundle(subnets(model), quantize, training()[0][:50])
    shallow, deep = stored_weights(content)
    assert set(shallow[:-1]) < set(deep)
    for signature, subnet in subnets(model).items():
        verify(content, subnet, *held_out(), quantize, signature)


@pytest.mark.parametrize("quantize", ["none", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_negative_scale_keeps_weights_apart_and_right(quantize):
    def turn(name, gamma):
        gamma[-1] *= -1 if name == "stage3_block1_conv2_bn_depth_8" or name.endswith("bn2_depth_8") else 1
        return gamma

    model = scaled(turn)
    content = convert_bundle(subnets(model), quantize, training()[0][:50])
    shallow, deep = stored_weights(content)
    assert not set(shallow[:-1]) < set(deep)
    for signature, subnet in subnets(model).items():
        verify(content, subnet, *held_out(), quantize, signature)


def test_activations_with_an_end_and_depthwise_convolutions():
    keras.utils.set_random_seed(0)
    model = DDNN((23, 38), "mobilenet_v2", input_shape=(32, 32, 1), width=8)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(random.uniform(0, 6, layer.beta.shape))  # ReLU6 cuts at both ends
    images = random.integers(0, 256, (40, 32, 32, 1)).astype("float32")
    content = convert_bundle(subnets(model))
    shallow, deep = stored_weights(content)
    assert set(shallow[:-1]) < set(deep)
    for signature, subnet in subnets(model).items():
        verify(content, subnet, images, np.zeros(40, int), signature=signature)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", MODES)
def test_a_densenet_alone_and_in_a_bundle(quantize):
    """Normalisation in front of convolutions, and kernels of which a depth has only a part."""
    keras.utils.set_random_seed(0)
    model = DDNN({"a": (1, 2, 1, 1), "b": (2, 2, 3, 1)}, "densenet", input_shape=(16, 16, 1), width=16)
    model.compile(keras.optimizers.Adam(0.003), jit_compile=False)
    model.fit(*training(), epochs=6, batch_size=64, verbose=0)
    content = convert_bundle(subnets(model), quantize, training()[0][:100])
    for signature, subnet in subnets(model).items():
        assert verify(content, subnet, *held_out(), quantize, signature).keras_accuracy > 0.8
        verify(convert(subnet, quantize, training()[0][:100]), subnet, *held_out(), quantize)


def test_files_of_other_networks_share_nothing_and_keep_what_they_do():
    images, _ = held_out(20)
    own = {name: convert(residual_net(seed=seed)) for seed, name in enumerate("ab")}
    content = share_weights(concatenate(own))
    one, other = stored_weights(content)
    assert not set(one) & set(other)
    for name in own:
        np.testing.assert_array_equal(LiteModel(content, name)(images), LiteModel(own[name])(images))


def test_weights_of_one_shape_for_different_numbers_of_channels():
    """The depthwise weights of eight channels and one filter for eight channels, of which no channel is the other's."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, padding="same")(keras.layers.Rescaling(1 / 255)(image))
    nets = {}
    for name, layer in {
        "a": keras.layers.DepthwiseConv2D(3, padding="same"),
        "b": keras.layers.Conv2D(1, 3, padding="same"),
    }.items():
        nets[name] = keras.Model(image, keras.layers.Flatten()(layer(x)))
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1)).astype("float32")
    content = convert_bundle(nets)
    one, other = stored_weights(content)
    assert len({*one, *other}) == 3
    for name, net in nets.items():
        verify(content, net, images, np.zeros(10, int), signature=name)


def test_dense_layers_without_bias_and_products_of_activations():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(16, use_bias=False)
    product = keras.ops.matmul(dense(flat)[:, :, None], dense(flat)[:, None, :])
    nets = {name: keras.Model(image, keras.layers.Flatten()(product)) for name in "ab"}
    nets["b"] = keras.models.clone_model(nets["b"])
    nets["b"].set_weights([3 * weight for weight in nets["a"].get_weights()])
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1)).astype("float32")
    content = convert_bundle(nets)
    one, other = stored_weights(content)
    assert set(one) == set(other)
    for name, net in nets.items():
        verify(content, net, images, np.zeros(10, int), signature=name)


@pytest.mark.parametrize(
    ("subnets", "sentence"),
    [
        ({}, r"`subnets` must be a dict from names to models\. Received: subnets={}"),
        ({8: None}, r"`subnets` must be a dict from names to models\. Received"),
        ({"a": None}, r"`subnet` must be a functional keras\.Model"),
    ],
)
def test_mistakes(subnets, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        convert_bundle(subnets)


def test_images_of_two_shapes():
    nets = {"a": residual_net(), "b": DDNN((8,), "resnet_cifar", input_shape=(8, 8, 1), width=2).subnet(8)}
    with pytest.raises(ValueError, match=r"^`subnets` must take images of one shape\. Received: {'a': \(16, 16, 1\)"):
        convert_bundle(nets)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", MODES)
def test_all_depths_at_full_width_take_three_percent_more_than_the_deepest(quantize):
    keras.utils.set_random_seed(0)
    model = DDNN((18, 34, 50))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_variance.assign(random.uniform(0.5, 2, layer.gamma.shape))
    images = random.integers(0, 256, (8, 32, 32, 3)).astype("float32")
    content = convert_bundle(subnets(model), quantize, images)
    ratio = len(content) / len(convert(model.subnet(50), quantize, images))
    print(f"{quantize}: {ratio:.4f}")
    assert ratio <= 1.03
    for signature, subnet in subnets(model).items():
        verify(content, subnet, images, np.zeros(8, int), quantize, signature)
