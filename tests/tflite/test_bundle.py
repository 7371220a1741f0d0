import keras
import numpy as np
import pytest
from small_networks import converted, held_out, subnets, tiny_net, trained_ddnn, training, untrained_ddnn

from ddnn_keras import DDNN
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.bundle import concatenate, convert_bundle
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import verify
from ddnn_keras.tflite.weight_sharing import Graph, share_weights


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
    ["int8", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("none", "float16", "dynamic", "int16x8"))],
)
def test_every_depth_is_there_and_every_weight_once(quantize, bundle):
    full_net = converted(quantize, 14)
    # The int8 one was verified when it was exported.
    content = bundle.read_bytes() if quantize == "int8" else checked_bundle(subnets(trained_ddnn()), quantize)
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


def checked_bundle(nets, quantize="none", images=None):
    """The bytes of a bundle, in which every signature does what its network does."""
    calibration_images = training()[0][:100] if images is None else images
    content = convert_bundle(nets, MODES[quantize], calibration_images)
    images_and_labels = held_out() if images is None else (images, np.zeros(len(images), int))
    for signature, net in nets.items():
        verify(content, net, *images_and_labels, MODES[quantize], signature)
    return content


def pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def scaled(change):
    """The depths of a network in which `change` made something of every normalisation's scale."""
    model = untrained_ddnn({8: (1, 1, 1), 14: (2, 1, 1)})
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(change(layer.name, random.uniform(0.5, 1.5, layer.gamma.shape)))
    return subnets(model)


@pytest.mark.parametrize("quantize", ["none", pytest.param("int8", marks=pytest.mark.slow)])
def test_a_channel_that_a_depth_switched_off_is_stored_with_the_others(quantize):
    def switch_off(name, gamma):
        gamma[0 if name.endswith("depth_8") else 1] = 0
        gamma[2 if name.endswith("depth_8") else 3] = 1e-8
        return gamma

    shallow, deep = stored_weights(checked_bundle(scaled(switch_off), quantize))
    assert set(shallow[:-1]) < set(deep)


@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_a_negative_scale_keeps_weights_apart_and_right(quantize):
    def turn(name, gamma):
        gamma[-1] *= -1 if name == "stage3_block1_conv2_bn_depth_8" or name.endswith("bn2_depth_8") else 1
        return gamma

    shallow, deep = stored_weights(checked_bundle(scaled(turn), quantize))
    assert not set(shallow[:-1]) < set(deep)


def test_activations_with_an_end_and_depthwise_convolutions():
    """ReLU6 cuts at both ends, so the channels' factors must come before it."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Rescaling(1 / 64)(image))
    x = keras.layers.DepthwiseConv2D(3)(keras.layers.ReLU(6.0)(x))
    nets = {"a": keras.Model(image, keras.layers.Flatten()(keras.layers.ReLU(6.0)(x)))}
    nets["b"] = keras.models.clone_model(nets["a"])
    kernel, bias, depthwise, depthwise_bias = nets["a"].get_weights()
    ratios = np.float32([0.5, 2, 3, 4])
    nets["b"].set_weights([kernel * ratios, bias + 1, depthwise * ratios[::-1, np.newaxis], depthwise_bias + 0.5])
    one, other = stored_weights(checked_bundle(nets, images=pixels(10, 8, 8, 1)))
    assert set(one) == set(other)


@pytest.mark.slow
def test_a_densenet():
    """Normalisation in front of convolutions, and kernels of which a depth has only a part."""
    keras.utils.set_random_seed(0)
    model = DDNN({"a": (1, 2, 1, 1), "b": (2, 2, 3, 1)}, "densenet", input_shape=(16, 16, 1), width=16)
    model.compile(keras.optimizers.Adam(0.003), jit_compile=False)
    model.fit(*training(), epochs=6, batch_size=64, verbose=0)
    for quantize in ("none", "int8"):
        checked_bundle(subnets(model), quantize)


def test_files_of_other_networks_share_nothing_and_keep_what_they_do():
    images, _ = held_out(20)
    own = {name: convert(tiny_net(seed)) for seed, name in enumerate("ab")}
    content = share_weights(concatenate(own))
    one, other = stored_weights(content)
    assert not set(one) & set(other)
    for name in own:
        np.testing.assert_array_equal(LiteModel(content, name)(images), LiteModel(own[name])(images))


def test_dense_layers_without_bias_and_products_of_activations():
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    dense = keras.layers.Dense(16, use_bias=False)
    product = keras.ops.matmul(dense(flat)[:, :, None], dense(flat)[:, None, :])
    nets = {name: keras.Model(image, keras.layers.Flatten()(product)) for name in "ab"}
    nets["b"] = keras.models.clone_model(nets["b"])
    nets["b"].set_weights([3 * weight for weight in nets["a"].get_weights()])
    one, other = stored_weights(checked_bundle(nets, images=pixels(10, 4, 4, 1)))
    assert set(one) == set(other)


# Of the other modes, the test above on every weight says the same of narrow networks.
@pytest.mark.slow
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_all_depths_at_full_width_take_one_percent_more_than_the_deepest(quantize):
    keras.utils.set_random_seed(0)
    model = DDNN((18, 34, 50))
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(random.uniform(0.5, 1.5, layer.gamma.shape))
            layer.moving_variance.assign(random.uniform(0.5, 2, layer.gamma.shape))
    images = pixels(8, 32, 32, 3)
    content = convert_bundle(subnets(model), MODES[quantize], images)
    ratio = len(content) / len(serialize(parse(convert(model.subnet(50), MODES[quantize], images))))
    print(f"{quantize}: {ratio:.4f}")
    assert ratio <= 1.01
