import keras
import pytest

from ddnn_keras import DDNN
from ddnn_keras.network.paths import Path


def test_depths_that_part_in_the_last_stage_have_normalisation_of_their_own_behind_it():
    model = DDNN({"a": (1, 1, 1, 1), "b": (1, 1, 1, 2)}, "densenet", width=4, input_shape=(8, 8, 1))
    assert {"last_bn_depth_a", "last_bn_depth_b"} <= {layer.name for layer in model.layers}


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
