"""Families against independent implementations of the same networks, by way of taking over their weights."""

import keras
import numpy as np
import pytest
from test_from_keras import efficientnet_lite

from ddnn_keras import DDNN
from ddnn_keras.pretrained import load_pretrained

IMAGES = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3)).astype("float32")
UNTRAINED = {"weights": None, "classes": 7, "classifier_activation": None}


def randomized(source, signs=(1,)):
    """The model with weights, statistics too, that no layer could be mixed up with; scales have one of the `signs`."""
    random = np.random.default_rng(0)
    for layer in source._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            scales, variance = random.uniform(0.5, 1.5, (2, *shape))
            layer.set_weights([scales * random.choice(signs, shape), *random.normal(0, 0.2, (2, *shape)), variance])
        elif hasattr(layer, "kernel"):
            # Kernels that keep the size of activations, without normalisation too.
            kernel, *bias = layer.get_weights()
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            inputs = np.prod(kernel.shape[:2] if depthwise else kernel.shape[:-1])
            kernel = random.normal(0, np.sqrt(2 / inputs), kernel.shape)
            layer.set_weights([kernel, *(random.normal(0, 0.1, values.shape) for values in bias)])
    return source


def resnet_backbone(block_type, blocks, dtype=None):
    """KerasHub's, whose first stage has 64 channels."""
    keras_hub, settings = pytest.importorskip("keras_hub"), {"image_shape": (None, None, 3), "dtype": dtype}
    stages = [64, 128, 256, 512], list(blocks), [1, 2, 2, 2]
    return keras_hub.models.ResNetBackbone([64], [7], *stages, block_type, **settings)


def classifier(backbone):
    features = keras.layers.GlobalAveragePooling2D()(backbone.output)
    return keras.Model(backbone.input, keras.layers.Dense(7)(features))


def check_same_logits(model, source, depth, images):
    # Published networks have some negative scales.
    load_pretrained(model, randomized(source, signs=(-1, 1, 1, 1)), depth)
    expected = source(images / 127.5 - 1, training=False)
    found = model.subnet(depth)(images, training=False)
    # Logits that hardly depend on the image would show nothing.
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))
    constrained = [layer for layer in model.layers if getattr(layer, "gamma_constraint", None)]
    assert min(np.min(layer.gamma) for layer in constrained) >= 0


@pytest.mark.parametrize(
    ("backbone", "block_type", "depths", "blocks"),
    [
        ("resnet", "basic_block", (10, 18), (2, 2, 2, 2)),
        ("resnet_bottleneck", "bottleneck_block", (26,), (2, 2, 2, 2)),
        pytest.param("resnet_bottleneck", "bottleneck_block", (26, 50), (3, 4, 6, 3), marks=pytest.mark.slow),
    ],
)
def test_resnets_are_kerashubs(backbone, block_type, depths, blocks):
    model = DDNN(depths=depths, backbone=backbone, num_classes=7, input_shape=(64, 64, 3), stem="imagenet")
    check_same_logits(model, classifier(resnet_backbone(block_type, blocks)), depths[-1], IMAGES)


def test_a_classifier_whose_backbone_is_one_of_its_layers():
    keras_hub = pytest.importorskip("keras_hub")
    source = keras_hub.models.ResNetImageClassifier(resnet_backbone("basic_block", (2, 2, 2, 2)), num_classes=7)
    model = DDNN(depths=(10, 18), num_classes=7, input_shape=(64, 64, 3), stem="imagenet")
    check_same_logits(model, source, 18, IMAGES)


def test_mobilenet_v2_is_that_of_keras_applications():
    # Where every strided convolution sees an odd resolution, for which Keras pads on both sides too.
    shape = (97, 97, 3)
    source = keras.applications.MobileNetV2(input_shape=shape, alpha=0.5, **UNTRAINED)
    model = DDNN(depths=(53,), backbone="mobilenet_v2", num_classes=7, input_shape=shape, width=16, stem="imagenet")
    check_same_logits(model, source, 53, np.random.default_rng(1).integers(0, 256, (2, *shape)).astype("float32"))


def test_efficientnet_lite_is_kerashubs():
    # As above, at an odd resolution. KerasHub pads even ones on both sides.
    shape = (97, 97, 3)
    source = classifier(efficientnet_lite(1.0, [1, 2, 2, 2, 2, 2, 1], shape))
    model = DDNN((7, 12), "efficientnet_lite", num_classes=7, input_shape=shape, stem="imagenet")
    check_same_logits(model, source, 12, np.random.default_rng(1).integers(0, 256, (2, *shape)).astype("float32"))


@pytest.mark.parametrize("layers", [16, pytest.param(19, marks=pytest.mark.slow)])
def test_vgg_is_that_of_keras_applications(layers):
    source = getattr(keras.applications, f"VGG{layers}")(input_shape=(32, 32, 3), **UNTRAINED)
    model = DDNN(depths=(11, layers), backbone="vgg", num_classes=7, stem="imagenet")
    check_same_logits(model, source, layers, IMAGES[:, :32, :32])


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "depths"), [(121, (121, 169)), (201, (169, 201))])
def test_densenet_is_that_of_keras_applications(layers, depths):
    source = getattr(keras.applications, f"DenseNet{layers}")(input_shape=(64, 64, 3), **UNTRAINED)
    model = DDNN(depths=depths, backbone="densenet", num_classes=7, input_shape=(64, 64, 3), stem="imagenet")
    check_same_logits(model, source, layers, IMAGES[:2])


def small_source(size=32):
    """The VGG16 of `keras.applications`, but narrow."""
    x = image = keras.Input((size, size, 3))
    for stage, blocks in enumerate((2, 2, 3, 3, 3), start=1):
        convolution = {"filters": 4 * min(2 ** (stage - 1), 8), "kernel_size": 3, "padding": "same"}
        for index in range(1, blocks + 1):
            x = keras.layers.Conv2D(**convolution, activation="relu", name=f"block{stage}_conv{index}")(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{stage}_pool")(x)
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x), name="vgg16")


def small_vgg(depths=(16,), **arguments):
    return DDNN(**{"depths": depths, "backbone": "vgg", "num_classes": 5, "width": 4, **arguments})


def small_ddnn(**arguments):
    return DDNN(**{"depths": (8, 14), "backbone": "resnet_cifar", "width": 4, **arguments})


def test_a_sub_net_of_another_network():
    source, model = randomized(small_ddnn()), small_ddnn(num_classes=5)
    # A combination's graph is a second one of the same layers.
    source.subnet((1, 2, 1))
    kernel = model.get_layer("depth_8").get_weights()[0]
    load_pretrained(model, source.subnet(8), depth=8)
    # A classifier for another number of classes stays.
    np.testing.assert_array_equal(model.get_layer("depth_8").get_weights()[0], kernel)
    images = IMAGES[:, :32, :32]
    features = [network.features(images)["depth_8"][-1] for network in (model, source)]
    np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-4)
    other = small_ddnn(pixel_mean=0)
    with pytest.raises(ValueError, match="the outputs of stem_conv and stem_conv differ by"):
        load_pretrained(other, source.subnet(8), depth=8)


def test_a_full_net_that_was_trained_alone_starts_all_depths():
    alone, model = randomized(small_ddnn(depths=(14,))), small_ddnn()
    load_pretrained(model, alone.subnet(14))
    logits = model(IMAGES[:, :32, :32])
    # With the same classifier and the normalisations of its first blocks.
    for key, subnet in {"depth_8": alone.subnet((1, 1, 1)), "depth_14": alone.subnet(14)}.items():
        np.testing.assert_allclose(logits[key], subnet(IMAGES[:, :32, :32]), rtol=1e-4, atol=1e-4)


def test_a_densenet_that_was_trained_alone():
    large, settings = {"large": (2, 2, 2, 2)}, {"backbone": "densenet", "width": 4}
    alone, model = randomized(DDNN(large, **settings)), DDNN({"small": (1, 1, 1, 1), **large}, **settings)
    load_pretrained(model, alone.subnet("large"))
    images = IMAGES[:, :32, :32]
    np.testing.assert_allclose(model(images)["depth_large"], alone(images)["depth_large"], rtol=1e-4, atol=1e-4)


def test_a_whole_network_for_other_classes(tmp_path):
    source, model = randomized(small_ddnn()), small_ddnn(num_classes=5)
    source.save(tmp_path / "other.keras")
    with pytest.warns(UserWarning, match="depth_8"):
        model.load_weights(tmp_path / "other.keras", skip_mismatch=True)
    images = IMAGES[:, :32, :32]
    for depth in ("depth_8", "depth_14"):
        features = [network.features(images)[depth][-1] for network in (model, source)]
        np.testing.assert_allclose(*features, rtol=1e-4, atol=1e-4)
    assert model.predict(images, verbose=0)["depth_14"].shape == (3, 5)


def test_a_source_without_pooling_or_with_blue_first():
    source = keras.applications.VGG16(input_shape=(32, 32, 3), weights=None, include_top=False)
    mean = (123.68, 116.779, 103.939)
    model = DDNN(depths=(16,), backbone="vgg", num_classes=5, pixel_mean=mean, pixel_std=1)
    load_pretrained(model, randomized(source), channels="bgr")
    images = IMAGES[:, :32, :32]
    expected = source(keras.applications.vgg16.preprocess_input(images.copy()), training=False)
    found = model.features(images)["depth_16"][-1]
    # The source ends with the pooling that our head begins with.
    pooled = keras.layers.MaxPooling2D(2)(found)
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-4 * np.max(expected))


def test_features_of_a_source_that_ends_before_its_classifier():
    subnet = randomized(small_vgg(stem="imagenet")).subnet(16)
    source, model = keras.Model(subnet.input, subnet.get_layer("dense2").output), small_vgg(stem="imagenet")
    load_pretrained(model, source)
    for name in ("dense1", "dense2"):
        np.testing.assert_equal(model.get_layer(name).get_weights(), source.get_layer(name).get_weights())


@pytest.mark.parametrize("ours, theirs", [("mixed_bfloat16", "float32"), ("float32", "mixed_bfloat16")])
def test_mixed_precision(ours, theirs):
    model = DDNN(depths=(10,), input_shape=(64, 64, 3), stem="imagenet", dtype=ours)
    load_pretrained(model, randomized(classifier(resnet_backbone("basic_block", (1, 1, 1, 1), dtype=theirs))))


@pytest.mark.parametrize(
    ("arguments", "layer"),
    [
        ({"depths": (19,)}, "stage3_block4_conv"),
        ({"width": 8}, "stage1_block1_conv"),
        ({"backbone": "resnet_cifar", "depths": (8,)}, "stem_conv"),
    ],
)
def test_the_first_layer_that_differs_is_named_and_nothing_changes(arguments, layer):
    sentence = f"`source` 'vgg16' is not the architecture of depth_.*: has {layer} with weights"
    check_not_taken(small_source(), sentence, small_vgg(**arguments))


def check_not_taken(source, sentence, model=None, **arguments):
    """That a message says `sentence`, and that the network is as it was."""
    model = model or small_vgg()
    before = model.get_weights()
    with pytest.raises(ValueError, match=sentence):
        load_pretrained(model, source, **arguments)
    np.testing.assert_equal(model.get_weights(), before)


@pytest.mark.parametrize(
    ("changed", "change", "sentence"),
    [
        ("block1_pool", {}, r"the outputs of stage2_block1_conv and block2_conv1 differ by"),
        ("block3_conv2", {"strides": 2}, r".* and block3_conv2 differ by inf .* \(16, 16, 16\) and \(8, 8, 16\)"),
        ("block2_conv1", {"activation": "tanh"}, "the outputs of stage2_block1_conv and block2_conv1 differ by"),
        ("block5_pool", {}, "the features, unlike the outputs of all layers, differ by"),
    ],
)
def test_the_first_layer_that_computes_something_else_is_named(changed, change, sentence):
    def clone(layer):
        if layer.name != changed:
            return type(layer).from_config(layer.get_config())
        if isinstance(layer, keras.layers.MaxPooling2D):
            return keras.layers.AveragePooling2D(2, name=layer.name)
        return type(layer).from_config({**layer.get_config(), **change})

    source = randomized(keras.models.clone_model(small_source(64), clone_function=clone))
    model = small_vgg(input_shape=(64, 64, 3))
    check_not_taken(source, f"with the same weights and images, {sentence}", model)


def test_sources_and_depths_that_cannot_be():
    plain = small_source()
    two = keras.Model(plain.inputs, [plain.output, plain.layers[3].output])
    check_not_taken(keras.Model(), "`source` must be a functional `keras.Model`. Received: source=<")
    check_not_taken(small_source(64), r"must take images of the shape \(32, 32, 3\)\. Received: .* takes \(64, 64, 3\)")
    check_not_taken("imagenet", "`source` must be a functional `keras.Model`, 'efficientnet_lite0', .* Received: 'im")
    check_not_taken(two, r"`source` must have one input and one output\. Received: 'functional.*' with 1 and 2")
    sentence = r"`depth` must be a trained one, whose weights the network keeps\. Received: depth=\(1, 2, 3, 3, 3\)"
    check_not_taken(plain, sentence, depth=(1, 2, 3, 3, 3))
    check_not_taken(plain, "`depth` must be one of 16, or blocks per stage", depth=16.0)
    check_not_taken(plain, "`channels` must be 'rgb' or 'bgr'. Received: channels='grb'", channels="grb")
    with pytest.raises(ValueError, match=r"`model` must be a ddnn_keras.DDNN. Received: model=<Functional name=vgg16"):
        load_pretrained(plain, small_vgg())
    check_not_taken(plain, "`model` must not be quantization-aware yet", small_vgg(quantization_aware=True))
