"""DDNN.from_keras: published architectures with random weights become networks of several depths."""

import keras
import numpy as np
import pytest
from keras import applications

from ddnn_keras import DDNN, EKD
from ddnn_keras.network.division import divide
from ddnn_keras.network.preprocessing import MODES as MODES_OF_PIXELS
from ddnn_keras.network.preprocessing import preprocessing_of
from ddnn_keras.quantization_aware import copied, quantization_aware
from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.bundle import convert_bundle
from ddnn_keras.tflite.convert import convert
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import verify

# Blocks per stage, the first of each with what leads to it, and how many blocks there are in all.
STAGES = {
    "MobileNetV2": ((2, 3, 4, 3, 3), 17),
    "ResNet50": ((3, 4, 6, 3), 16),
    "ResNet50V2": ((2, 3, 5, 3), 16),
    "MobileNetV3Small": ((2, 3, 2, 3), 11),
    "MobileNetV3Large": ((1, 2, 3, 4, 2, 3), 15),
    "EfficientNetB0": ((2, 2, 3, 3, 4), 16),
    "EfficientNetV2B0": ((2, 2, 3, 5, 8), 20),
    "ConvNeXtTiny": ((3, 3, 9, 3), 18),
    "Xception": ((9,), 11),
    "InceptionResNetV2": ((10, 20, 10), 40),
}


def efficientnet_lite(width, repeats, shape):
    """KerasHub's EfficientNet without squeeze-and-excite, as in the lite ones."""
    from keras_hub import models

    channels = [32, 16, 24, 40, 80, 112, 192, 320]
    return models.EfficientNetBackbone(
        stackwise_width_coefficients=[width] * 7,
        stackwise_depth_coefficients=[1.0] * 7,
        stackwise_squeeze_and_excite_ratios=[0] * 7,
        stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
        stackwise_num_repeats=repeats,
        stackwise_input_filters=channels[:-1],
        stackwise_output_filters=channels[1:],
        stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
        stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
        stackwise_block_types=["v1"] * 7,
        activation="relu6",
        input_shape=shape,
    )


def hub_source(name, shape=(64, 64, 3)):
    from keras_hub import models

    if name == "ResNetBackbone":
        return models.ResNetBackbone([64], [7], [64] * 3, [2, 3, 2], [1, 2, 2], "basic_block", image_shape=shape)
    if name == "EfficientNetBackbone":
        return efficientnet_lite(0.5, [1, 2, 2, 3, 3, 4, 1], shape)
    return models.MobileNetBackbone(
        stackwise_expansion=[[8, 24], [24, 48, 48], [48, 96]],
        stackwise_num_blocks=[2, 3, 2],
        stackwise_num_filters=[[8, 8], [16, 16, 16], [24, 24]],
        stackwise_kernel_size=[[3, 3], [5, 5, 5], [5, 5]],
        stackwise_num_strides=[[2, 1], [2, 1, 1], [1, 1]],
        stackwise_se_ratio=[[None, None], [0.25] * 3, [0.25] * 2],
        stackwise_activation=[["relu", "relu"], ["hard_swish"] * 3, ["hard_swish"] * 2],
        stackwise_padding=[[1, 1], [2, 2, 2], [2, 2]],
        output_num_filters=64,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        last_layer_filter=64,
        squeeze_and_excite=0.5,
        image_shape=shape,
    )


def source_of(name):
    """A network of that name for small images, whose normalisations are not those of a new one."""
    keras.utils.set_random_seed(0)
    size = 75 if name == "InceptionResNetV2" else 71 if name == "Xception" else 64
    if name.endswith("Backbone"):
        source = hub_source(name)
    else:
        arguments = {"alpha": 0.35} if name == "MobileNetV2" else {}
        source = getattr(applications, name)(weights=None, input_shape=(size, size, 3), classes=5, **arguments)
    random = np.random.default_rng(0)
    for layer in source.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            shape = layer.gamma.shape
            # Some of them negative, as in published networks.
            layer.gamma.assign(random.normal(0.8, 0.4, shape))
            layer.moving_mean.assign(random.normal(0, 0.1, shape))
            layer.moving_variance.assign(random.uniform(0.5, 1.5, shape))
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights([np.array([123.0, 116.0, 103.0]), np.full(3, 3300.0), np.array(1)])
            layer.finalize_state()
    return source


def converted_network(name):
    source = source_of(name)
    images = np.random.default_rng(0).uniform(0, 255, (8, *source.input_shape[1:])).astype("float32")
    return source, DDNN.from_keras(source, depths=2, num_classes=5), images


def expected(source, images):
    pixels = preprocessing_of(source)
    normalized = (images - np.float32(pixels.mean)) / np.float32(pixels.std)
    outputs = source(normalized[..., ::-1] if pixels.channels == "bgr" else normalized, training=False)
    return keras.ops.convert_to_numpy(outputs)


HUB = ("ResNetBackbone", "EfficientNetBackbone", "MobileNetBackbone")


def check_full_net(name, source, model, images):
    logits = keras.ops.convert_to_numpy(model(images, training=False)[model.output_keys[-1]])
    if name in HUB:
        # They end with features, and the network has a classifier of its own.
        features = expected(source, images).mean((1, 2))
        kernel, bias = model.get_layer(model.output_keys[-1]).get_weights()
        np.testing.assert_allclose(logits, features @ kernel + bias, rtol=1e-4, atol=1e-4)
    else:
        probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(logits))
        np.testing.assert_allclose(probabilities, expected(source, images), rtol=1e-4, atol=1e-5)
    *shallow, full_net = model.depths.values()
    if name in STAGES:
        division = divide(source)
        assert (division.blocks, sum(division.blocks) + division.other_blocks) == STAGES[name]
        assert full_net == division.blocks
    assert all(count == 1 for count in shallow[0])
    # Statistics follow within the few steps of a fine-tuning.
    assert {layer.momentum for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)} <= {0.9}
    # What is not shared is normalisation and the classifiers.
    assert model.count_params() < 1.1 * source.count_params() or name in ("MobileNetV2", "MobileNetBackbone")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STAGES, *HUB])
def test_it_exports_trains_and_comes_back(name, tmp_path):
    source, model, images = converted_network(name)
    check_full_net(name, source, model, images)
    # What is left to do takes long with many blocks, and is the same with two in a stage.
    *_, full_net = model.depths.values()
    depths = {"shallow": [1 for _ in full_net], "deep": [min(count, 2) for count in full_net]}
    model = DDNN.from_keras(source, depths=depths, num_classes=5)
    subnets = {key: model.subnet(depth) for key, depth in zip(model.output_keys, model.depths)}
    shallow, *_, full_net = subnets.values()
    verify(convert(shallow), shallow, images, np.zeros(len(images), int))
    bundle = convert_bundle(subnets, MODES["int8"], images)
    for key, subnet in subnets.items():
        reference = keras.ops.convert_to_numpy(subnet(images, training=False))
        errors = np.abs(LiteModel(bundle, key)(images) - reference).max(-1)
        assert np.quantile(errors, 0.9) < 0.2 * np.abs(reference).max()

    model.compile(keras.optimizers.SGD(1e-3), distillation=EKD(), run_eagerly=True)
    assert np.isfinite(model.fit(images[:4], np.arange(4), verbose=0).history["loss"]).all()
    model.save(tmp_path / "model.keras")
    # As in a process that has made no layers before.
    keras.backend.clear_session()
    found = keras.saving.load_model(tmp_path / "model.keras")(images[:2], training=False)
    for key, logits in model(images[:2], training=False).items():
        np.testing.assert_allclose(found[key], logits, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "largest"), [("MobileNetV2", 1.12), ("ResNet50", 1.04)])
def test_a_bundle_at_full_width_is_hardly_larger_than_the_full_nets_file(name, largest):
    """What is not stored once are scales and zero points, of which a narrow network has more."""
    source = getattr(applications, name)(weights=None, input_shape=(64, 64, 3), classes=10)
    model = DDNN.from_keras(source)
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    *shallow, full_net = (model.subnet(depth) for depth in model.depths)
    assert len(shallow) == 2
    bundle = convert_bundle(dict(zip(model.output_keys, [*shallow, full_net])), MODES["int8"], images)
    alone = serialize(parse(convert(full_net, MODES["int8"], images)))
    assert len(bundle) < largest * len(alone)
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(full_net(images, training=False)))
    np.testing.assert_allclose(probabilities, expected(source, images), rtol=1e-4, atol=1e-5)


def test_depths_by_number_and_by_blocks():
    source, model, images = converted_network("MobileNetV2")
    check_full_net("MobileNetV2", source, model, images)
    assert list(model.depths) == [7, 17]
    assert list(DDNN.from_keras(source).depths) == [7, 12, 17]
    assert list(DDNN.from_keras(source, depths=1).depths.values()) == [(2, 3, 4, 3, 3)]
    named = DDNN.from_keras(source, depths={"small": (1, 1, 2, 1, 1), "large": (2, 2, 4, 3, 1)}, num_classes=3)
    assert named.output_keys == ["depth_small", "depth_large"]
    assert named.subnet("small").output_shape == (None, 3)
    untrained = model.calibrate(images, (1, 2, 2, 1, 1))
    assert np.isfinite(keras.ops.convert_to_numpy(untrained(images))).all()


def small_source(image, x, name="small"):
    """A network of two residual blocks behind `x`, with one activation for both."""
    x, activation = keras.layers.Conv2D(4, 3, strides=2, name="stem")(x), keras.layers.ReLU(name="activation")
    for number in range(3):
        y = activation(keras.layers.Conv2D(4, 3, padding="same", name=f"conv_{number}")(x))
        x = keras.layers.Add()([x, y])
    return keras.Model(image, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x)), name=name)


def test_copies_for_files_and_for_integer_training_normalise_as_the_source():
    images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype("float32")
    image, normalization = keras.Input((16, 16, 3)), keras.layers.Normalization()
    normalization.adapt(images)
    source = small_source(image, normalization(image))
    model = DDNN.from_keras(source, depths=2)
    *_, full_net = model.output_keys
    for found in (
        model(images)[full_net],
        LiteModel(convert(model.subnet(3)))(images),
        copied(quantization_aware(model, images), quantization_aware=False)(images)[full_net],
    ):
        np.testing.assert_allclose(found, source(images), rtol=1e-4, atol=1e-4)


def test_one_activation_for_all_layers_and_pixels_that_are_scaled_after_augmentation(tmp_path):
    image = keras.Input((16, 16, 3))
    x = keras.layers.RandomZoom(0.1)(keras.layers.RandomRotation(0.1)(keras.layers.RandomFlip()(image)))
    source = small_source(image, keras.layers.Rescaling(1 / 127.5, -1)(x), name="resnet50v2_flowers")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    model = DDNN.from_keras(source, depths=2)
    model.save(tmp_path / "model.keras")
    for network in (model, keras.saving.load_model(tmp_path / "model.keras")):
        # Keras' layers of augmentation would change the images here. They are left out.
        logits = network(images)["depth_3"]
        np.testing.assert_allclose(logits, source(images, training=False), rtol=1e-4, atol=1e-4)


def test_pixels_that_the_source_resizes_do_not_make_a_call_a_training_step():
    """Keras' layer has `training=True` by default, and passes it on."""
    image = keras.Input((16, 16, 3))
    model = DDNN.from_keras(small_source(image, keras.layers.Resizing(8, 8)(image)), depths=2, preprocessing=None)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    before = model.get_weights()
    np.testing.assert_array_equal(model(images)["depth_3"], model(images, training=False)["depth_3"])
    for weights, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weights, old)


def with_attention():
    """A block of attention, whose kernels are those of layers within it."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 4, strides=4)(image)
    return small_source(image, keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 4)(x, x)]))


def with_preactivation():
    """A convolution that a normalisation with negative scales reads, and a shortcut too."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3)(image)
    normalization = keras.layers.BatchNormalization(gamma_initializer=keras.initializers.RandomNormal(seed=0))
    y = keras.layers.Conv2D(4, 3, padding="same")(keras.layers.ReLU()(normalization(x)))
    return small_source(image, keras.layers.Add()([x, y]))


def with_two_channels_for_each():
    """A depthwise convolution with a multiplier, before a normalisation with negative scales."""
    image = keras.Input((16, 16, 3))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(image)
    scales = keras.initializers.RandomNormal(seed=0)
    return small_source(image, keras.layers.BatchNormalization(gamma_initializer=scales)(x))


def within_another():
    """One activation for many layers of a network that is a layer of another."""
    image = keras.Input((16, 16, 3))
    return keras.Sequential([image, keras.layers.RandomFlip(), small_source(image, image)])


def frozen():
    source = within_another()
    source.trainable = False
    return source


@pytest.mark.parametrize(
    "make", [with_attention, with_preactivation, with_two_channels_for_each, within_another, frozen]
)
def test_the_full_net_computes_what_the_source_computes_and_can_be_trained(make):
    source, images = make(), np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype("float32")
    model = DDNN.from_keras(source, depths=2, preprocessing="0..1")
    logits = model(images, training=False)[model.output_keys[-1]]
    np.testing.assert_allclose(logits, source(images / 255, training=False), rtol=1e-4, atol=1e-3)
    kernels = [weight for weight in source.weights if "kernel" in weight.name]
    assert len([weight for weight in model.trainable_weights if "kernel" in weight.name]) == len(kernels) + 1


def test_a_source_for_images_of_any_size():
    source = applications.MobileNetV2(weights=None, input_shape=(None, None, 3), include_top=False, alpha=0.35)
    model = DDNN.from_keras(source, depths=2, num_classes=5, input_shape=(48, 48, 3))
    assert model.input_shape == (None, 48, 48, 3)
    with pytest.raises(
        ValueError, match=r"^`input_shape` must be given for a source .* of the shape \(None, None, 3\)"
    ):
        DDNN.from_keras(source, num_classes=5)


def test_kerashubs_backbones_want_the_pixels_that_their_weights_were_trained_on():
    from keras_hub import models

    assert preprocessing_of(hub_source("EfficientNetBackbone")) == MODES_OF_PIXELS["torch"]
    for v2, mode in ((False, "torch"), (True, "tf")):
        source = models.ResNetBackbone([64], [3], [64], [1], [1], "basic_block", use_pre_activation=v2)
        assert preprocessing_of(source) == MODES_OF_PIXELS[mode]


class Scaled(keras.layers.Layer):
    """A block with a weight beside its layer's."""

    def build(self, input_shape):
        self.convolution = keras.layers.Conv2D(4, 3, padding="same")
        self.convolution.build(input_shape)
        self.gain = self.add_weight(name="gain")

    def call(self, inputs):
        return inputs + self.convolution(inputs) * self.gain


def test_mistakes():
    image = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    chain = keras.Model(image, keras.layers.Conv2D(4, 3, name="second")(x), name="chain")
    blocks = keras.Model(image, keras.layers.Add()([x, keras.layers.Conv2D(4, 3, padding="same")(x)]), name="mine")
    named = keras.Model(blocks.input, blocks.output, name="resnet50_flowers")
    small = keras.Model(blocks.input, blocks.output, name="resnet18")
    computing = small_source(image, image / 255, name="resnet50")
    scaled = keras.Model(image, Scaled(name="scaled")(x))
    lambdas = small_source(image, keras.layers.Lambda(lambda pixels: pixels, name="same")(image))
    for source, arguments, message in [
        (chain, {}, r"^`source` must have blocks that add to their input.*'chain' has none"),
        (keras.Sequential([keras.layers.Dense(3)]), {}, r"^`source` must be a functional"),
        (blocks, {}, r"^`preprocessing` must be given for a source called 'mine'"),
        (named, {}, r"^`preprocessing` must be given for a source called 'resnet50_flowers'"),
        (small, {}, r"^`preprocessing` must be given for a source called 'resnet18'"),
        (computing, {}, r"^`preprocessing` must be given for a source that computes with pixels itself"),
        (scaled, {}, r"^`source` must not have a layer with weights of its own .*: scaled, a Scaled with gain$"),
        (lambdas, {"preprocessing": None}, r"^`source` must not have Lambda layers, .*\. Received: same$"),
        (blocks, {"preprocessing": "torchvision"}, r"^`preprocessing` must be None, '0..1' .*, 'tf'"),
        (blocks, {"preprocessing": None, "depths": 1}, r"^`num_classes` must be an integer of 2 or more"),
        (blocks, {"preprocessing": None, "num_classes": 3, "depths": 2}, r"^`depths` must be from 1 to 1 for"),
    ]:
        with pytest.raises(ValueError, match=message):
            DDNN.from_keras(source, **arguments)
