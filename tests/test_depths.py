import pytest

from ddnn_keras.backbones.resnet import ResNet
from ddnn_keras.depths import resolve_depths


def test_named_depths_and_one_alone():
    assert resolve_depths(18, ResNet.DEPTHS) == {18: (2, 2, 2, 2)}
    depths = {"small": [2, 2, 2, 2], "tiny": (1, 1, 1, 1), 18: (2, 2, 3, 2)}
    assert resolve_depths(depths, ResNet.DEPTHS) == {"tiny": (1, 1, 1, 1), "small": (2, 2, 2, 2), 18: (2, 2, 3, 2)}


@pytest.mark.parametrize(
    ("depths", "named", "allowed"),
    [
        ((), "depths=()", "at least one"),
        ({}, "depths={}", "at least one"),
        ((18, 19), "19", "10, 18, 34, 50, 100"),
        ("18", "'18'", "10, 18, 34, 50, 100"),
        ((18, 34, 18), "18 and 18", "must not repeat"),
        ({"a": (1, 1, 1, 1), "b": (1, 1, 1, 1)}, "'a' and 'b'", "must not repeat"),
        ({"a": (1, 1, 1)}, "(1, 1, 1)", "4 stages"),
        ({"a": (1, 0, 1, 1)}, "(1, 0, 1, 1)", "at least 1 block"),
        ({"a": (1, 1, 1, 1.5)}, "1.5", "at least 1 block"),
        ({"a/b": (1, 1, 1, 1)}, "'a/b'", "string of letters, digits and underscores"),
        ({"a": (1, 3, 1, 1), "b": (2, 2, 2, 2)}, "'a' (1, 3, 1, 1)", "must nest"),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(depths, named, allowed):
    with pytest.raises(ValueError) as error:
        resolve_depths(depths, ResNet.DEPTHS)
    message = str(error.value)
    assert named in message
    assert allowed in message
    assert "\n" not in message
