"""What every family has in common: counts, training, saving; and a backbone of one's own."""

import re

import keras
import numpy as np
import pytest
from conftest import ROOT

from ddnn_keras import DDNN, EKD
from ddnn_keras.backbones import BACKBONES, family_named
from ddnn_keras.network.cost import count_parameters

# At 1000 classes and 224x224; ResNet-26 and the smaller MobileNets are nobody's canonical networks.
PUBLISHED = {
    "resnet_bottleneck": {50: 25_557_032, 101: 44_549_160, 152: 60_192_808},
    "vgg": {11: 132_868_840, 13: 133_053_736, 16: 138_365_992, 19: 143_678_248},
    "mobilenet_v2": {53: 3_504_872},
    "densenet": {121: 7_978_856, 169: 14_149_480, 201: 20_013_928},
}


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_extracted_sub_nets_have_the_published_numbers_of_parameters(backbone):
    published = PUBLISHED[backbone]
    model = DDNN(tuple(published), backbone, num_classes=1000, input_shape=(224, 224, 3), stem="imagenet")
    assert {depth: count_parameters(model.subnet(depth)) for depth in model.depths} == published


def test_names_count_the_layers_with_weights():
    for depth, blocks in family_named("resnet_bottleneck").DEPTHS.items():
        assert depth == 3 * sum(blocks) + 2
    for depth, blocks in family_named("vgg").DEPTHS.items():
        assert depth == sum(blocks) + 3
    for depth, blocks in family_named("mobilenet_v2").DEPTHS.items():
        assert depth == 3 * sum(blocks) + 2
    for depth, blocks in family_named("densenet").DEPTHS.items():
        assert depth == 2 * sum(blocks) + 5


@pytest.mark.parametrize(
    ("stem", "resolutions"),
    [
        ("cifar", [32, 32, 16, 8, 8, 4, 4]),
        ("strided", [16, 16, 8, 4, 4, 2, 2]),
        ("imagenet", [16, 8, 4, 2, 2, 1, 1]),
    ],
)
def test_the_stages_of_mobilenet_v2(stem, resolutions):
    model = DDNN(depths=(23,), backbone="mobilenet_v2", stem=stem)
    features = model.features(np.zeros((1, 32, 32, 3)))["depth_23"]
    assert [tuple(feature.shape[1:3]) for feature in features] == [(size, size) for size in resolutions]
    assert [feature.shape[3] for feature in features] == [16, 24, 32, 64, 96, 160, 320]


def test_channels_of_a_narrow_mobilenet_v2_are_those_of_keras_applications():
    source = keras.applications.MobileNetV2(input_shape=(97, 97, 3), alpha=0.5, weights=None, classes=1000)
    model = DDNN((53,), "mobilenet_v2", num_classes=1000, input_shape=(97, 97, 3), width=16, stem="imagenet")
    assert count_parameters(model) == count_parameters(source)


def images_and_labels():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (8, 32, 32, 3)).astype("float32"), random.integers(0, 4, 8)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_family_trains_and_survives_saving(backbone, tmp_path):
    images, labels = images_and_labels()
    num_stages = family_named(backbone).num_stages
    model = DDNN({"shallow": (1,) * num_stages, "deep": (2,) * num_stages}, backbone, num_classes=4, width=8)
    # Two steps show that every weight of every depth takes part. While its offset is 0, a scale has no effect where a
    # depthwise convolution and another normalisation follow: its first gradient, 3e-7, is lost in rounding.
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(0.1), distillation=EKD(), jit_compile=False)
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    changed = [not np.array_equal(one, other) for one, other in zip(before, model.get_weights())]
    names = [weight.path for weight, moved in zip(model.weights, changed) if not moved]
    # In front of a normalisation, a bias has no effect.
    assert [name for name in names if not name.endswith("conv/bias")] == []
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, logits in model.predict(images, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(images, verbose=0)[key], logits)


@pytest.mark.parametrize("backbone", ["resnet_cifar", "mobilenet_v2"])
def test_scales_never_turn_negative(backbone):
    model = DDNN([min(family_named(backbone).DEPTHS)], backbone, num_classes=4, width=8)
    model.compile(keras.optimizers.SGD(100.0), jit_compile=False)
    model.fit(*images_and_labels(), batch_size=8, verbose=0)
    scales = np.concatenate([weight for weight in model.trainable_weights if weight.path.endswith("gamma")])
    assert np.min(scales) == 0 < np.max(scales)


@pytest.fixture
def examples(monkeypatch):
    """The names that CONTRIBUTING's own examples define, as they stand there."""
    monkeypatch.setattr("ddnn_keras.backbones.BACKBONES", BACKBONES | {})
    names = {}
    for example in re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL):
        exec(example, names)
    return names


@pytest.fixture
def plain_net(examples):
    """A model with a backbone of one's own, and its class."""
    return examples["model"], examples["PlainNet"]


def test_a_family_by_name(examples, tmp_path):
    model = examples["by_name"]
    assert list(model.depths.values()) == [(1, 1), (2, 2), (3, 3)]
    assert model.get_layer("stage1_block1_conv").filters == 8
    images, labels = images_and_labels()
    model.compile("sgd", distillation=EKD(), jit_compile=False)
    model.fit(images, labels, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config()["backbone"] == "plain"
    for key, logits in model.predict(images, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(images, verbose=0)[key], logits)
    with pytest.raises(ValueError, match=r"`stem` must be one of 'cifar'\. Received: stem='imagenet'"):
        DDNN((3, 5), "plain", stem="imagenet")


def test_a_backbone_of_ones_own(plain_net, tmp_path):
    model, backbone = plain_net
    assert model.output_keys == ["depth_3", "depth_5", "depth_7"]
    images, _ = images_and_labels()
    model.compile("sgd", metrics=["accuracy"], distillation=EKD(), jit_compile=False)
    model.fit(images, np.arange(8), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.depths == {3: (1, 1), 5: (2, 2), 7: (3, 3)}
    np.testing.assert_array_equal(
        loaded.predict(images, verbose=0)["depth_5"], model.predict(images, verbose=0)["depth_5"]
    )
    with pytest.raises(ValueError, match=r"`width` is for families by name, not for .* Received: 4"):
        DDNN(depths=(3, 5), backbone=backbone(8), width=4)


def test_a_normalisation_without_statistics(plain_net):
    _, backbone = plain_net

    class Grouped(backbone):
        def block(self, path, x, stage, index):
            convolution = {"filters": self.width, "kernel_size": 3, "padding": "same"}
            x = path.shared(keras.layers.Conv2D, f"{stage}_{index}_conv", **convolution)(x)
            return path.private(keras.layers.GroupNormalization, f"{stage}_{index}_norm", groups=2)(x)

    model = DDNN((3, 7), Grouped(4), input_shape=(16, 16, 3))
    images, _ = images_and_labels()
    subnet = model.calibrate(images[:, :16, :16], (1, 2))
    assert len([layer for layer in subnet.layers if "norm" in layer.name and layer.weights]) == 3


def test_a_backbone_that_is_not_saved_needs_no_config(plain_net):
    _, backbone = plain_net

    class Unsaved:
        DEPTHS, num_stages = backbone.DEPTHS, backbone.num_stages
        width = 4
        stem, block, head = backbone.stem, backbone.block, backbone.head

    assert DDNN(depths=(3, 5), backbone=Unsaved()).subnet(3).output_shape == (None, 10)
    with pytest.raises(ValueError, match="`backbone` must be an object, not a class"):
        DDNN(depths=(3, 5), backbone=Unsaved)


@pytest.mark.parametrize(("backbone", "stem"), [("vgg", "imagenet"), ("mobilenet_v2", "cifar")])
def test_a_depth_alone_starts_from_the_weights_that_it_has_within_a_network(backbone, stem):
    depths = list(family_named(backbone).DEPTHS)[:2]

    def initial_weights(depths):
        keras.utils.set_random_seed(7)
        model = DDNN(depths, backbone, width=8, stem=stem)
        return {weight.path: weight.numpy() for weight in model.subnet(depths[0]).weights}

    alone, together = initial_weights(depths[:1]), initial_weights(depths)
    common = [path for path in alone if path in together and "kernel" in path]
    assert len(common) == sum("kernel" in path for path in alone)
    for path in common:
        np.testing.assert_array_equal(alone[path], together[path])


def test_weights_of_a_shallow_densenet_are_part_of_the_deep_ones():
    """Kernels, transitions' too, have the shallow network's channels and more of them."""
    model = DDNN({"a": (1, 2, 1, 1), "b": (2, 2, 3, 1)}, "densenet", width=8, num_classes=4)
    shallow, deep = (
        {layer.name.removesuffix(f"_depth_{depth}"): layer for layer in model.subnet(depth).layers} for depth in "ab"
    )
    transition = shallow["stage2_transition_conv"], deep["stage2_transition_conv"]
    assert [layer.kernel.shape for layer in transition] == [(1, 1, 12, 6), (1, 1, 16, 8)]
    # What came into the first stage, and what its blocks added, are in front of what deeper networks add.
    small, large = (layer.get_weights()[0] for layer in transition)
    np.testing.assert_array_equal(large[:, :, :12, :6], small)
    small, large = (net["stage2_block2_conv1"].get_weights()[0] for net in (shallow, deep))
    assert (small.shape[2], large.shape[2]) == (6 + 4, 8 + 4)
    np.testing.assert_array_equal(large[:, :, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11]], small)
    # Stored once: all that the shallow network has is the deep one's too, but for normalisation and classifier.
    own = [
        weight.path
        for weight in model.subnet("a").weights
        if weight.path not in {w.path for w in model.subnet("b").weights}
    ]
    assert all("bn" in path or "depth_a/" in path for path in own)


def test_no_channel_of_a_nested_kernel_begins_as_a_copy_of_another():
    # Of half of this width, kernels have four outputs, and four random numbers correlate by chance.
    model = DDNN({"a": (1, 1, 1, 1), "b": (1, 1, 2, 1), "c": (2, 2, 3, 1)}, "densenet", width=16)
    kernels = [layer.kernel for layer in model.layers if type(layer).__name__ == "NestedConvolution"]
    assert max(kernel.shape[2] for kernel in kernels) > 12
    assert min(kernel.shape[3] for kernel in kernels) == 9
    for kernel in kernels:
        correlation = np.corrcoef(kernel[0, 0]) - np.eye(kernel.shape[2])
        assert np.abs(correlation).max() < 0.999


def test_a_whole_kernel_goes_into_the_pieces_and_comes_back():
    layer = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 1, 1)}, "densenet", width=8).get_layer(
        "stage2_transition_conv_depth_b"
    )
    assert [len(row) for row in layer.pieces] == [2, 2, 2]
    kernel = np.random.default_rng(0).normal(size=layer.kernel.shape).astype("float32")
    layer.set_weights([kernel])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    images = np.random.default_rng(1).normal(size=(1, 3, 3, kernel.shape[2])).astype("float32")
    np.testing.assert_allclose(layer(images), np.einsum("nhwi,io->nhwo", images, kernel[0, 0]), atol=1e-5)


def test_what_a_densenet_cannot_do():
    model = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 2, 1)}, "densenet", width=8)
    with pytest.raises(
        ValueError, match=r"`depth` must be a trained one .* as in a DenseNet. Received: depth=\(1, 1, 2"
    ):
        model.subnet((1, 1, 2, 1))
    with pytest.raises(ValueError, match="`quantization_aware` must be False for a network with kernels of "):
        DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 2, 1)}, "densenet", width=8, quantization_aware=True)
    with pytest.raises(ValueError, match=r"`width` must be even for a DenseNet\. Received: width=5"):
        DDNN(depths=(121,), backbone="densenet", width=5)


def test_vgg_needs_32_pixels():
    with pytest.raises(ValueError, match=r"`input_shape` must be at least 32x32 for VGG.* Received: .*\(16, 32, 1\)"):
        DDNN(depths=(11,), backbone="vgg", input_shape=(16, 32, 1))


def test_what_a_backbone_lacks():
    with pytest.raises(ValueError, match=r"an object with DEPTHS, .* Received: backbone=<.*>, which lacks DEPTHS"):
        DDNN(depths=(3, 5), backbone=object())


def test_a_backbone_whose_table_and_stages_do_not_fit(plain_net):
    _, backbone = plain_net
    for table in ({}, {3: (1, 1), 5: (2, 2, 2)}, {3: (1, 0)}, {3: 2}, [(1, 1)]):
        wrong = backbone(8)
        wrong.DEPTHS = table
        with pytest.raises(
            ValueError, match=r"`backbone` must have a tuple of 2 positive integers, its `num_stages`, for"
        ):
            DDNN({"mine": (1, 1)}, wrong)

    class Flat(backbone):
        def block(self, path, x, stage, index):
            x = super().block(path, x, stage, index)
            return keras.layers.GlobalMaxPooling2D()(x) if stage == 1 else x

        def head(self, path, x):
            return x

    sentence = r"must give \(height, width, channels\) at the end of every stage\. Received: shape \(16,\) at the .* 1"
    with pytest.raises(ValueError, match=sentence):
        DDNN({"mine": (1, 1)}, Flat(8))


@pytest.mark.parametrize(("stem", "least"), [("cifar", 8), ("strided", 15), ("imagenet", 29)])
def test_densenet_needs_eight_pixels_behind_its_stem(stem, least):
    depths = {"tiny": (1, 1, 1, 1)}
    DDNN(depths, "densenet", width=4, stem=stem, input_shape=(least, least, 1))
    sentence = r"`input_shape` must leave 8x8 or more behind the stem of a DenseNet.*, but 7x8 are left of \("
    with pytest.raises(ValueError, match=sentence):
        DDNN(depths, "densenet", width=4, stem=stem, input_shape=(least - 1, least, 1))


def test_a_stem_that_is_no_name():
    for backbone in BACKBONES:
        for stem in (["cifar"], np.array(["cifar", "strided"])):
            with pytest.raises(ValueError, match=r"`stem` must be one of 'cifar', .*\. Received: stem=.*\['cifar'"):
                DDNN([min(family_named(backbone).DEPTHS)], backbone, stem=stem)
