import pathlib

import pytest

from ddnn_keras import EKD, distillation
from ddnn_keras.runs import arguments
from ddnn_keras.runs.arguments import argument_parser, setting_flags, with_absolute_paths


def test_choices_and_defaults_are_those_of_ekd():
    config = EKD().get_config()
    assert config == {name: arguments.DISTILLATION[name]["default"] for name in config}
    assert list(arguments.ATTENTION_MAPS) == list(distillation.ATTENTION_MAPS)
    assert list(arguments.TEACHERS) == list(distillation.TEACHERS)


@pytest.mark.parametrize(("flags", "mirror"), [([], None), (["--mirror"], True), (["--no-mirror"], False)])
def test_settings_are_passed_on_as_they_were_given(flags, mirror):
    parser = argument_parser("")
    given = parser.parse_args(["--dataset", "npz:some file.npz", "--width", "4", "--learning-rate", "0.1", *flags])
    assert parser.parse_args(setting_flags(given)) == given
    assert given.mirror is mirror


def test_files_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("mine.pth").touch()
    for given, kept in (("mine.pth", str(tmp_path / "mine.pth")), ("efficientnet_lite0", "efficientnet_lite0")):
        asked = argument_parser("").parse_args(["--pretrained", given, "--dataset", "npz:mine.npz"])
        found = with_absolute_paths(asked)
        assert (found.pretrained, found.dataset) == (kept, f"npz:{tmp_path}/mine.npz")
