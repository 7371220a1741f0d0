import keras
import pytest

from ddnn_keras.network.paths import Path, grow


class Recorder:
    """A backbone that only writes down which blocks are computed, and on which path."""

    num_stages = 3

    def __init__(self):
        self.blocks = []

    def block(self, path, x, stage, index):
        self.blocks.append(f"{stage}.{index}@{path.name}")
        return (*x, self.blocks[-1])


def test_common_parts_are_computed_once_and_paths_part_where_one_keeps_fewer_blocks():
    backbone = Recorder()
    depths = {"shallow": (1, 1, 1), "middle": (2, 1, 1), "deep": (2, 2, 1)}
    grown = grow(backbone, Path("deep", depths["deep"], {}, "float32", seed=0), (), depths)
    computed = "0.0@deep 0.1@deep 1.0@shallow 2.0@shallow 1.0@deep 1.1@deep 2.0@middle 2.0@deep"
    assert " ".join(backbone.blocks) == computed
    ends = {key: (path.name, features[-1]) for key, (path, features) in grown.items()}
    assert ends == {
        "shallow": ("shallow", ("0.0@deep", "1.0@shallow", "2.0@shallow")),
        "middle": ("middle", ("0.0@deep", "0.1@deep", "1.0@deep", "2.0@middle")),
        "deep": ("deep", ("0.0@deep", "0.1@deep", "1.0@deep", "1.1@deep", "2.0@deep")),
    }
    assert all(len(features) == 3 for _, features in grown.values())


def test_depths_that_part_in_the_last_stage_have_normalisation_of_their_own_behind_it():
    depths = {"shallow": (1, 1, 1), "deep": (1, 1, 2)}
    grown = grow(Recorder(), Path("deep", depths["deep"], {}, "float32", seed=0), (), depths)
    assert {key: (path.name, features[-1][-1]) for key, (path, features) in grown.items()} == {
        "shallow": ("shallow", "2.0@deep"),
        "deep": ("deep", "2.1@deep"),
    }


def test_two_layers_must_not_have_one_name():
    path = Path("depth_a", (1, 1), {}, None, seed=0)
    start = keras.initializers.HeNormal(path.seed("conv"))
    first = path.shared(keras.layers.Conv2D, "conv", filters=2, kernel_size=3, kernel_initializer=start)
    again = keras.initializers.HeNormal(path.seed("conv"))
    assert path.shared(keras.layers.Conv2D, "conv", filters=2, kernel_size=3, kernel_initializer=again) is first
    with pytest.raises(ValueError, match=r"^`name` must be that of one layer\. Received: name='conv' of a Conv2D w"):
        path.shared(keras.layers.Conv2D, "conv", filters=2, kernel_size=5, kernel_initializer=start)
    with pytest.raises(ValueError, match=r"of a DepthwiseConv2D with .* before of a Conv2D"):
        path.shared(keras.layers.DepthwiseConv2D, "conv", kernel_size=3)
