import re

import keras
import numpy as np
import pytest
from conftest import ROOT, python

from ddnn_keras import DDNN, EKD
from ddnn_keras.backbones import BACKBONES, family_named
from ddnn_keras.network.cost import count_parameters

IMAGENET = {"num_classes": 1000, "input_shape": (224, 224, 3), "stem": "imagenet"}
# ResNet-26 and the smaller MobileNets are nobody's canonical networks.
PUBLISHED = [
    ("resnet", IMAGENET, {18: 11_689_512, 34: 21_797_672, 50: 31_243_048}),
    ("resnet_bottleneck", IMAGENET, {50: 25_557_032, 101: 44_549_160, 152: 60_192_808}),
    ("vgg", IMAGENET, {11: 132_868_840, 13: 133_053_736, 16: 138_365_992, 19: 143_678_248}),
    ("mobilenet_v2", IMAGENET, {53: 3_504_872}),
    ("efficientnet_lite", IMAGENET, {16: 4_652_008, 21: 5_416_680}),
    ("efficientnet_lite", {**IMAGENET, "width": 32 * 1.1}, {21: 6_092_072}),
    ("efficientnet_lite", {**IMAGENET, "width": 32 * 1.2}, {24: 8_197_096}),
    ("efficientnet_lite", {**IMAGENET, "width": 32 * 1.4}, {30: 13_006_568}),
    ("densenet", IMAGENET, {121: 7_978_856, 169: 14_149_480}),
    # With projections: 2,752 parameters more than the paper's networks, whose shortcuts are padded (option A).
    ("resnet_cifar", {}, {20: 272_474, 32: 466_906, 44: 661_338, 56: 855_770}),
]


@pytest.mark.parametrize(("backbone", "settings", "published"), PUBLISHED)
def test_extracted_sub_nets_have_the_published_numbers_of_parameters(backbone, settings, published):
    model = DDNN(tuple(published), backbone, **settings)
    assert {depth: count_parameters(model.subnet(depth)) for depth in model.depths} == published


def test_names_count_the_layers_with_weights_or_the_blocks():
    blocks_and_others = {"resnet": (2, 2), "resnet_cifar": (2, 2), "resnet_bottleneck": (3, 2)}
    blocks_and_others |= {"vgg": (1, 3), "mobilenet_v2": (3, 2), "densenet": (2, 5)}
    blocks_and_others |= {"efficientnet_lite": (1, 0)}
    assert blocks_and_others.keys() == BACKBONES.keys()
    for backbone, (in_a_block, others) in blocks_and_others.items():
        for depth, blocks in family_named(backbone).DEPTHS.items():
            assert depth == in_a_block * sum(blocks) + others


@pytest.mark.parametrize(
    ("backbone", "size", "stem", "resolutions"),
    [
        ("resnet", 64, "cifar", [64, 32, 16, 8]),
        ("resnet", 64, "imagenet", [16, 8, 4, 2]),
        ("resnet_cifar", 32, "cifar", [32, 16, 8]),
        ("resnet_cifar", 28, "strided", [14, 7, 4]),
        ("mobilenet_v2", 32, "cifar", [32, 32, 16, 8, 8, 4, 4]),
        ("mobilenet_v2", 32, "strided", [16, 16, 8, 4, 4, 2, 2]),
        ("efficientnet_lite", 32, "imagenet", [16, 8, 4, 2, 2, 1, 1]),
    ],
)
def test_resolutions_of_the_stages(backbone, size, stem, resolutions):
    model = DDNN({"a": (1,) * len(resolutions)}, backbone, width=4, input_shape=(size, size, 3), stem=stem)
    features = model.features(np.zeros((1, size, size, 3)))["depth_a"]
    assert [feature.shape[1:3] for feature in features] == [(pixels, pixels) for pixels in resolutions]


ODD_BATCH = """
import keras, numpy as np
from ddnn_keras import DDNN

model = DDNN(depths=(10,), width=4)
model.compile("sgd", jit_compile=False)
model.fit(np.zeros((45, 32, 32, 3)), np.zeros(45, "int32"), batch_size=15, verbose=0)
print("survived")
"""


@pytest.mark.slow
def test_odd_batches_of_narrow_networks_do_not_kill_the_process():
    """The gradient of a strided 1x1 convolution did, with TensorFlow 2.21 on CPUs."""
    assert python(ODD_BATCH) == "survived\n"


def test_a_width_between_integers_survives_saving():
    model = DDNN((7,), "efficientnet_lite", width=32 * 1.1)
    copy = DDNN.from_config(model.get_config())
    assert [weight.shape for weight in copy.weights] == [weight.shape for weight in model.weights]
    assert model.get_layer("stage3_block1_project_conv").filters == 48
    with pytest.raises(ValueError, match=r"`width` must be a positive number\. Received: width=nan"):
        DDNN((7,), "efficientnet_lite", width=float("nan"))


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
    model.compile(keras.optimizers.SGD(0.1), distillation=EKD(), run_eagerly=True)
    model.fit(images, labels, batch_size=8, epochs=2, verbose=0)
    changed = [not np.array_equal(one, other) for one, other in zip(before, model.get_weights())]
    names = [weight.path for weight, moved in zip(model.weights, changed) if not moved]
    # In front of a normalisation, a bias has no effect.
    assert [name for name in names if not name.endswith("conv/bias")] == []
    check_saved(model, images, tmp_path / "model.keras")


def check_saved(model, images, path):
    model.save(path)
    loaded = keras.saving.load_model(path)
    for key, logits in model(images).items():
        np.testing.assert_array_equal(loaded(images)[key], logits)


def test_scales_never_turn_negative():
    model = DDNN((8,), "resnet_cifar", num_classes=4, width=8)
    model.compile(keras.optimizers.SGD(100.0), run_eagerly=True)
    model.fit(*images_and_labels(), batch_size=8, verbose=0)
    scales = np.concatenate([weight for weight in model.trainable_weights if weight.path.endswith("gamma")])
    assert np.min(scales) == 0 < np.max(scales)


@pytest.fixture(scope="module")
def examples():
    """The names that the page's examples define, as they stand there."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddnn_keras.backbones.BACKBONES", BACKBONES | {})
        page = (ROOT / "ddnn_keras/backbones/README.md").read_text()
        for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
            exec(example, names)
        yield names


@pytest.mark.parametrize("name", ["model", "by_name"])
def test_a_backbone_of_ones_own_and_a_family_by_name(examples, name, tmp_path):
    model, (images, labels) = examples[name], images_and_labels()
    assert model.depths == {3: (1, 1), 5: (2, 2), 7: (3, 3)}
    assert model.get_layer("stage1_block1_conv").filters == 8
    model.compile("sgd", metrics=["accuracy"], distillation=EKD(), run_eagerly=True)
    model.fit(images, labels, verbose=0)
    check_saved(model, images, tmp_path / "model.keras")


def test_mistakes_with_a_backbone_of_ones_own(examples):
    with pytest.raises(ValueError, match=r"`stem` must be one of 'cifar'\. Received: stem='imagenet'"):
        DDNN((3, 5), "plain", stem="imagenet")
    with pytest.raises(ValueError, match=r"`width` is for families by name, not for .* Received: 4"):
        DDNN(depths=(3, 5), backbone=examples["PlainNet"](8), width=4)
    with pytest.raises(ValueError, match="`backbone` must be an object, not a class"):
        DDNN(depths=(3, 5), backbone=examples["PlainNet"])
    with pytest.raises(ValueError, match=r"an object with DEPTHS, .* Received: backbone=<.*>, which lacks DEPTHS"):
        DDNN(depths=(3, 5), backbone=object())


def test_a_normalisation_without_statistics(examples):
    class Grouped(examples["PlainNet"]):
        def block(self, path, x, stage, index):
            convolution = {"filters": self.width, "kernel_size": 3, "padding": "same"}
            x = path.shared(keras.layers.Conv2D, f"{stage}_{index}_conv", **convolution)(x)
            return path.private(keras.layers.GroupNormalization, f"{stage}_{index}_norm", groups=2)(x)

    model = DDNN((3, 7), Grouped(4), input_shape=(16, 16, 3))
    images, _ = images_and_labels()
    subnet = model.calibrate(images[:, :16, :16], (1, 2))
    assert len([layer for layer in subnet.layers if "norm" in layer.name and layer.weights]) == 3


def test_a_backbone_that_is_not_saved_needs_no_config(examples):
    plain_net = examples["PlainNet"]

    class Unsaved:
        DEPTHS, num_stages = plain_net.DEPTHS, plain_net.num_stages
        width = 4
        stem, block, head = plain_net.stem, plain_net.block, plain_net.head

    assert DDNN(depths=(3, 5), backbone=Unsaved()).subnet(3).output_shape == (None, 10)


@pytest.mark.parametrize(
    ("backbone", "stem"), [("vgg", "imagenet"), ("mobilenet_v2", "cifar"), ("resnet_cifar", "cifar")]
)
def test_a_depth_alone_starts_from_the_weights_that_it_has_within_a_network(backbone, stem):
    depths = list(family_named(backbone).DEPTHS)[:2]

    def initial_kernels(depths, seed=7):
        keras.utils.set_random_seed(seed)
        model = DDNN(depths, backbone, width=8, stem=stem)
        return {weight.path: weight.numpy() for weight in model.subnet(depths[0]).weights if "kernel" in weight.path}

    alone = initial_kernels(depths[:1])
    np.testing.assert_equal(alone, initial_kernels(depths))
    assert len({kernel.tobytes() for kernel in alone.values()}) == len(alone)
    first = next(iter(alone))
    assert not np.array_equal(alone[first], initial_kernels(depths[:1], seed=8)[first])


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
    shallow, deep = ({weight.path for weight in model.subnet(depth).weights} for depth in "ab")
    assert all("bn" in path or "depth_a/" in path for path in shallow - deep)


def test_no_channel_of_a_nested_kernel_begins_as_a_copy_of_another():
    # Of half of this width, kernels have four outputs, and four random numbers correlate by chance.
    model = DDNN({"a": (1, 1, 1, 1), "b": (1, 1, 2, 1), "c": (2, 2, 3, 1)}, "densenet", width=16)
    kernels = [layer.kernel for layer in model.layers if type(layer).__name__ == "NestedConvolution"]
    assert max(kernel.shape[2] for kernel in kernels) > 12
    assert min(kernel.shape[3] for kernel in kernels) == 9
    for kernel in kernels:
        correlation = np.corrcoef(kernel[0, 0]) - np.eye(kernel.shape[2])
        assert np.abs(correlation).max() < 0.999


def test_what_a_densenet_cannot_do():
    model = DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 2, 1)}, "densenet", width=8)
    with pytest.raises(ValueError, match=r"`depth` must be a trained one .* DenseNet. Received: depth=\(1, 1, 2"):
        model.subnet((1, 1, 2, 1))
    with pytest.raises(ValueError, match="`quantization_aware` must be False for a network with kernels of "):
        DDNN({"a": (1, 1, 1, 1), "b": (2, 1, 2, 1)}, "densenet", width=8, quantization_aware=True)
    with pytest.raises(ValueError, match=r"`width` must be even for a DenseNet\. Received: width=5"):
        DDNN(depths=(121,), backbone="densenet", width=5)


def test_vgg_needs_32_pixels():
    with pytest.raises(ValueError, match=r"`input_shape` must be at least 32x32 for VGG.* Received: .*\(16, 32, 1\)"):
        DDNN(depths=(11,), backbone="vgg", input_shape=(16, 32, 1))


@pytest.mark.parametrize(("stem", "least"), [("cifar", 8), ("strided", 15), ("imagenet", 29)])
def test_densenet_needs_eight_pixels_behind_its_stem(stem, least):
    depths = {"tiny": (1, 1, 1, 1)}
    DDNN(depths, "densenet", width=4, stem=stem, input_shape=(least, least, 1))
    sentence = r"`input_shape` must leave 8x8 or more behind the stem of a DenseNet.*, but 7x8 are left of \("
    with pytest.raises(ValueError, match=sentence):
        DDNN(depths, "densenet", width=4, stem=stem, input_shape=(least - 1, least, 1))
