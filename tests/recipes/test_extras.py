"""Recipes with what the README's installation brings, and nothing that only the tests' environment has."""

import importlib.metadata
import os
import subprocess
import sys

import pytest
from conftest import ROOT
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


@pytest.fixture
def environment(tmp_path):
    """Makes a folder of what extras bring, and gives the environment variables of a Python that sees it alone."""

    def made(extras):
        packages = tmp_path / "packages"
        packages.mkdir()
        for name in brought(extras):
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(distribution.locate_file(top))
        # TensorFlow Model Optimization, if another test has imported it, asks for a Keras that is not there.
        variables = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
        return {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)])}

    return made


def recipe(script, *flags, **environment):
    """Runs it; with -S, the packages of this Python itself are out of sight."""
    command = [sys.executable, "-S", str(ROOT / "recipes" / script), *TINY, *map(str, flags)]
    return subprocess.run(command, **environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "extras", "flags"),
    [("train.py", INSTALLED, []), ("tune.py", (*INSTALLED, "tune"), ["--trials", 1])],
)
def test_a_recipe_needs_no_more_than_its_extras(script, extras, flags, environment, tmp_path):
    finished = recipe(script, *flags, "--output", tmp_path / "out", env=environment(extras))
    assert (finished.returncode, finished.stderr) == (0, "")
