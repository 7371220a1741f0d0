import os
import pathlib
import runpy
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent

# Set before TensorFlow is imported: its log would bury the tests'.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Tables are read as text, without the colours that this asks for.
os.environ.pop("FORCE_COLOR", None)


@pytest.fixture(scope="session")
def script():
    """Runs a script of the project in a process of its own: `script("recipes/train.py", "--epochs", 1)`."""

    def run(path, *arguments, cwd=None, start=False):
        command = [sys.executable, str(ROOT / path), *map(str, arguments)]
        if start:
            return subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True)

    return run


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs a script in this process, which has TensorFlow already: `main("export/to_tflite.py", "--help")`.

    Gives its exit code and what it wrote to standard output and to standard error. What trains is for `script`:
    it makes its process deterministic, and Keras then leaves XLA out of all that comes later.
    """
    from tensorflow.python.framework.config import is_op_determinism_enabled

    def run(path, *arguments):
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        capsys.readouterr()
        try:
            runpy.run_path(str(ROOT / path), run_name="__main__")
            code = 0
        except SystemExit as ended:
            code = ended.code
        assert not is_op_determinism_enabled(), f"{path} trained in the process of other tests"
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def mistake(main):
    """The sentence that a script answers a user's mistake with: `mistake("recipes/train.py", "--depths", 17)`."""

    def run(path, *arguments):
        code, _, errors = main(path, *arguments)
        assert code == 2
        # TensorFlow's own log comes before; what we say is one line.
        lines = errors.strip().splitlines()
        (start,) = (index for index, line in enumerate(lines) if line.startswith(f"{pathlib.Path(path).name}: "))
        assert start == len(lines) - 1
        assert not any("Traceback" in line or "usage" in line for line in lines)
        return lines[start]

    return run


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory, script):
    """The directory of a small real training."""
    path = tmp_path_factory.mktemp("run") / "digits"
    finished = script("recipes/train.py", *TINY, "--epochs", 3, "--output", path)
    assert finished.returncode == 0, finished.stderr
    return path


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """An int8 bundle of two depths that have learned digits."""
    from small_networks import held_out, subnets, trained_ddnn, training

    from ddnn_keras.tflite.export import export_subnets

    path = tmp_path_factory.mktemp("bundle") / "bundle_int8.tflite"
    images, labels = held_out()
    model = trained_ddnn()
    depths = {f"depth_{depth}": {"depth": depth, "blocks_per_stage": blocks} for depth, blocks in model.depths.items()}
    export_subnets(
        subnets(model),
        path,
        quantize="int8",
        calibration_images=training()[0][:100],
        images=images,
        labels=labels,
        facts={"depths": depths, "labels": [f"digit {digit}" for digit in range(10)]},
    )
    return path


TINY = ["--dataset", "digits", "--depths", 10, 18, "--width", 4, "--batch-size", 128]
