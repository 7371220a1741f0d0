import pytest

from ddnn_keras import EKD, distillation
from ddnn_keras.runs import arguments
from ddnn_keras.runs.arguments import argument_parser, setting_flags


def test_choices_and_defaults_are_those_of_ekd():
    assert EKD().get_config() == arguments.EKD_DEFAULTS
    assert list(arguments.ATTENTION_MAPS) == list(distillation.ATTENTION_MAPS)
    assert list(arguments.TEACHERS) == list(distillation.TEACHERS)


@pytest.mark.parametrize(("flags", "mirror"), [([], None), (["--mirror"], True), (["--no-mirror"], False)])
def test_settings_are_passed_on_as_they_were_given(flags, mirror):
    parser = argument_parser("")
    given = parser.parse_args(["--dataset", "npz:some file.npz", "--width", "4", "--learning-rate", "0.1", *flags])
    assert parser.parse_args(setting_flags(given)) == given
    assert given.mirror is mirror
