"""Recipes with what the README's installation brings, and nothing that only the tests' environment has."""

import importlib.metadata
import os
import sys

import pytest
from conftest import ROOT, ended
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALLED = ("tensorflow", "recipes")
TINY = ["--dataset", "digits", "--backbone", "resnet_cifar", "--depths", "8", "14", "--width", "2", "--stem", "strided"]
TINY += ["--batch-size", "400", "--warmup-epochs", "0", "--epochs", "1"]


def brought(extras):
    """The names of all distributions that `pip install ".[extras]"` brings."""
    found, left = set(), [("ddnn_keras", frozenset(extras))]
    while left:
        name, extras = left.pop()
        if (name, extras) in found:
            continue
        found.add((name, extras))
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
                left.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in found}


def environment(extras, packages):
    """The variables of a Python that sees a new folder of what extras bring, and that alone."""
    packages.mkdir()
    for name in brought(extras):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(distribution.locate_file(top))
    # TensorFlow Model Optimization, if another test has imported it, asks for a Keras that is not there.
    variables = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    return {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)])}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "extras", "flags"), [("train.py", INSTALLED, []), ("tune.py", (*INSTALLED, "tune"), ["--trials", 1])]
)
def test_a_recipe_needs_no_more_than_its_extras(script, extras, flags, tmp_path):
    # With -S, the packages of this Python itself are out of sight.
    command = [sys.executable, "-S", ROOT / "recipes" / script, *TINY, *flags, "--output", tmp_path / "out"]
    assert ended(command, env=environment(extras, tmp_path / "packages")).stderr == ""
