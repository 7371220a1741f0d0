import json
import os
import pathlib
import runpy
import shutil
import subprocess
import sys
import time

import pytest

import ddnn_keras.command_line  # noqa: F401  (keeps TensorFlow's log away, here and in all processes)

# Tables are read as text, without the colours that this asks for.
os.environ.pop("FORCE_COLOR", None)
ROOT = pathlib.Path(__file__).parent.parent
TINY = ["--dataset", "digits", "--depths", 10, 18, "--width", 4, "--batch-size", 128]
# Fixtures and functions that take long. One worker makes them for all tests that use them.
SHARED = {
    "run": {"finished_run"},
    "bundle": {"bundle", "export_bundle", "trained_ddnn", "trained_net", "mixed_net", "converted"},
    "pages": {"demo"},
    "compare": {"comparison"},
    "devices": {"one_device"},
    "published_weights": {"lite0"},
}
# Begins a program as if TensorFlow were not installed.
NO_TENSORFLOW = """
import sys

class NotInstalled:
    def find_spec(self, name, *_):
        if name.partition(".")[0].startswith("tensorflow"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
"""
# Ends a program that runs a script: `python(NO_TENSORFLOW + RUN, ROOT / "recipes/train.py", "--epochs", 1)`.
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Gives each test the group of what it shares, for pytest-xdist."""
    for item in items:
        names = vars(getattr(item, "module", item)).items()
        used = {name for name, value in names if getattr(value, "__module__", "") == "small_networks"}
        used |= {*getattr(item, "fixturenames", ())}
        for group, shared in SHARED.items():
            if used & shared:
                item.add_marker(pytest.mark.xdist_group(group))


def ended(command, code=0, **settings):
    """A process that ended with this exit code, and what it wrote."""
    finished = subprocess.run([*map(str, command)], capture_output=True, text=True, **settings)
    assert finished.returncode == code, finished.stderr
    return finished


def python(program, *arguments, **environment):
    """What a program prints: `python("print(1)", KERAS_BACKEND="jax")`."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    return ended([sys.executable, "-c", program, *arguments], env=environment).stdout


@pytest.fixture(scope="session")
def script():
    """Runs a script of the project in a process of its own: `script("recipes/train.py", "--epochs", 1)`."""
    return lambda path, *arguments, **settings: ended([sys.executable, ROOT / path, *arguments], **settings)


def kill_training(condition, path, *arguments):
    """Runs a script of the project and kills it without warning as soon as the condition holds."""
    command = [sys.executable, ROOT / path, *arguments]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not condition():
            assert process.poll() is None, "the training ended before it could be killed"
            time.sleep(0.01)
        process.kill()


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs a script in this process, which has TensorFlow already: `main("export/to_tflite.py", "--help")`.

    Gives its exit code and what it wrote to standard output and to standard error.
    """
    from tensorflow.python.framework.config import disable_op_determinism

    def run(path, *arguments):
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code
        # A training is deterministic. Keras would then leave XLA out of all that comes later in this process.
        disable_op_determinism()
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def printed(main):
    """What a script prints that must end without an error: `printed("export/to_tflite.py", "--depth", 18)`."""

    def run(path, *arguments):
        code, output, errors = main(path, *arguments)
        assert code == 0, errors
        return output

    return run


@pytest.fixture
def mistake(main):
    """The sentence that a script answers a user's mistake with: `mistake("recipes/train.py", "--depths", 17)`."""

    def run(path, *arguments):
        code, _, errors = main(path, *arguments)
        assert code == 2
        *others, sentence = errors.strip().splitlines()
        name = pathlib.Path(path).name
        assert sentence.startswith(f"{name}: ")
        assert not any(line.startswith((name, "Traceback", "usage")) for line in others)
        return sentence

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, script):
    """The directory of a small real training. Beside it, `printed` has what the training printed."""
    path = tmp_path_factory.mktemp("run") / "digits"
    finished = script("recipes/train.py", *TINY, "--epochs", 3, "--output", path)
    assert finished.stderr == ""
    path.with_name("printed").write_text(finished.stdout)
    return path


@pytest.fixture
def copied_run(finished_run, tmp_path):
    """Copies the finished run, perhaps with a change: `copied_run(lambda config: config.update(backend="torch"))`."""

    def copy(change=lambda config: None):
        run = shutil.copytree(finished_run, tmp_path / "run")
        config = json.loads((run / "config.json").read_text())
        change(config)
        (run / "config.json").write_text(json.dumps(config))
        return run

    return copy


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """An int8 bundle of two depths that have learned digits."""
    from small_networks import export_bundle

    path = tmp_path_factory.mktemp("bundle") / "bundle_int8.tflite"
    export_bundle(path)
    return path
