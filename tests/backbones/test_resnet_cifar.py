"""The CIFAR family is the published one, but for its shortcuts."""

import pytest

from ddnn_keras import DDNN
from ddnn_keras.backbones.resnet import BASIC_DEPTHS as DEPTHS
from ddnn_keras.network.cost import count_parameters


def test_a_name_counts_the_layers_with_weights():
    assert set(DEPTHS) == {8, 14, 20, 32, 44, 56, 110}
    for depth, blocks in DEPTHS.items():
        assert len(blocks) == 3 and len(set(blocks)) == 1
        assert depth == 2 * sum(blocks) + 2


# The paper's networks with projections instead of option A's padding: 2,752 parameters more.
@pytest.mark.parametrize(("depth", "parameters"), [(20, 272_474), (32, 466_906), (44, 661_338), (56, 855_770)])
def test_parameters(depth, parameters):
    assert count_parameters(DDNN(depths=(depth,), backbone="resnet_cifar").subnet(depth)) == parameters


def test_stages():
    model = DDNN(depths=(8,), backbone="resnet_cifar").subnet(8)
    shapes = [model.get_layer(f"stage{stage}_block1_conv2").output.shape[1:] for stage in (1, 2, 3)]
    assert shapes == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]


def test_the_strided_stem_halves_the_resolution():
    model = DDNN(depths=(8,), backbone="resnet_cifar", input_shape=(28, 28, 1), stem="strided").subnet(8)
    shapes = [model.get_layer(f"stage{stage}_block1_conv2").output.shape[1:3] for stage in (1, 2, 3)]
    assert shapes == [(14, 14), (7, 7), (4, 4)]
