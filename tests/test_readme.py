"""What the README promises on its first screen, on a tiny setting: `make demo`, the ten lines, a board's snippet."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from ddnn_keras.runtime.metadata import read_metadata

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("readme")

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """`make demo` in the environment that runs this test."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    variables = [f"VENV={sys.prefix}", f"DEMO={folder}", "FLAGS=--width 2 --epochs 1 --depths 10 18"]
    command = ["make", "demo", "--old-file", f"{sys.prefix}/installed-demo", *variables]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return folder, finished.stdout


@pytest.mark.slow
def test_the_demo_leaves_verified_files_and_shows_them_last(demo):
    folder, output = demo
    files = {f"depth_{depth}{suffix}.tflite" for depth in (10, 18) for suffix in ("", "_int8")}
    files.add("bundle_int8.tflite")
    assert {path.name for path in folder.glob("tflite/*.tflite")} == files
    assert output.count("Verified: ") == len(files)
    screen = output[output.rindex("┏") :]
    assert "test accuracy" in screen and "float32 accuracy" in screen and "int8 accuracy" in screen
    rows = [line.split("│")[1:-1] for line in screen.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["10", "18"]
    metadata = read_metadata(folder / "tflite/depth_18_int8.tflite")
    found = metadata["signatures"]["serving_default"]["verification"]
    megabytes = (folder / "tflite/depth_18_int8.tflite").stat().st_size / 1e6
    shown = [f"{found['accuracy']:.2%}", f"{megabytes:.2f}", f"{found['milliseconds_per_image']:.2f}"]
    assert [cell.strip() for cell in rows[1][-3:]] == shown
    *_, bundle, command = screen.splitlines()
    assert bundle.startswith(f"All depths in one file: {folder}/tflite/bundle_int8.tflite, ")
    words = shlex.split(command.removeprefix("Next: "))
    finished = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.slow
def test_the_snippet_for_a_board_runs_on_the_demos_file(demo):
    folder, _ = demo
    (snippet,) = (block for block in blocks("python") if "ai_edge_litert" in block)
    finished = subprocess.run([sys.executable, "-c", snippet], cwd=folder / "tflite", capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() in list("0123456789")


@pytest.mark.slow
def test_the_snippet_for_a_bundle_runs_on_the_demos(demo):
    folder, _ = demo
    (snippet,) = (block for block in blocks("python") if "budget_ms" in block)
    finished = subprocess.run([sys.executable, "-c", snippet], cwd=folder / "tflite", capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    label, depth = finished.stdout.split()
    assert label in list("0123456789")
    assert depth == "18"


@pytest.mark.slow
def test_the_snippet_for_a_cascade_runs_on_the_demos(demo):
    folder, _ = demo
    (snippet,) = (block for block in blocks("python") if "Cascade" in block)
    (folder / "tflite" / "bundle_int8.cascade.json").write_text("[[10, 0.5], [18, 0.0]]")
    finished = subprocess.run([sys.executable, "-c", snippet], cwd=folder / "tflite", capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() in list("0123456789")


@pytest.mark.slow
def test_the_device_section_in_a_virtual_environment_of_its_own(demo, tmp_path):
    """Word for word, as on a board that has nothing but Python, and needs the package index."""
    folder, _ = demo
    ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "runs", "results")
    shutil.copytree(ROOT, tmp_path / "project", ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "board"], check=True)
    (installation,) = re.findall(r"^```\n(pip install ai-edge-litert.*?)```", README, flags=re.DOTALL | re.MULTILINE)
    path = {**os.environ, "PATH": f"{tmp_path / 'board' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment = {name: value for name, value in path.items() if name != "PYTHONPATH"}
    place = {"cwd": tmp_path / "project", "env": environment, "capture_output": True, "text": True}
    finished = subprocess.run(["bash", "-ec", installation], **place)
    assert finished.returncode == 0, finished.stderr
    installed = subprocess.run(["bash", "-ec", "pip list"], **place).stdout.lower()
    names = {line.split()[0] for line in installed.splitlines()}
    assert "ai-edge-litert" in names and not names & {"tensorflow", "keras", "jax"}
    for path in folder.glob("tflite/*"):
        shutil.copy(path, tmp_path / "project")
    snippets = [block for block in blocks("python") if "ddnn_keras.runtime" in block or "ai_edge_litert" in block]
    assert len(snippets) == 3
    (tmp_path / "project" / "bundle_int8.cascade.json").write_text("[[10, 0.5], [18, 0.0]]")
    for snippet in snippets:
        snippet = snippet.replace("depth=18", "depth=10")
        finished = subprocess.run(["python", "-c", snippet.replace("depth_18.tflite", "depth_10.tflite")], **place)
        assert finished.returncode == 0, finished.stderr
    command = ["python", "export/benchmark_tflite.py", "bundle_int8.tflite", "--runs", "3"]
    assert subprocess.run(command, **place).returncode == 0


def test_the_ten_lines_run(tmp_path):
    (fitting,) = (block for block in blocks("python") if "model.fit" in block)
    (calibration,) = (block for block in blocks("python") if "model.calibrate" in block)
    snippet = fitting + calibration
    tiny_settings = {"depths=(18, 34, 50)": "depths=(10, 18)", "width=16": "width=2", "epochs=10": "epochs=1"}
    tiny_settings |= {"(2, 3, 4, 2)": "(1, 2, 1, 2)"}
    for figure, tiny in tiny_settings.items():
        assert figure in snippet
        snippet = snippet.replace(figure, tiny)
    snippet += "\nassert phone.output_shape == subnet.output_shape == (None, 10)"
    finished = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "digits.keras").exists()


@pytest.mark.slow
def test_the_table_of_families_is_what_the_script_counts(script):
    finished = script("recipes/study/family_table.py")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout in README


def test_the_snippet_for_published_weights_runs():
    (snippet,) = (block for block in blocks("python") if "load_pretrained(" in block)
    finished = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


def test_every_command_names_a_file_and_flags_that_exist(main):
    # In blocks of their own, perhaps behind a variable, and between backticks.
    script_and_flags = r"python ((?:recipes|export)/\w+\.py)"
    pages = README + (ROOT / "recipes/README.md").read_text()
    commands = re.findall(rf"^(?:\w+=\S+ )*{script_and_flags}(.*?)(?:#.*)?$", pages, flags=re.MULTILINE)
    commands += re.findall(rf"`(?:\w+=\S+ )*{script_and_flags}([^`]*)`", pages)
    assert len(commands) >= 20
    for path, arguments in commands:
        code, help_text, _ = main(path, "--help")
        assert code == 0, path
        for flag in re.findall(r"--[\w-]+", arguments):
            assert re.search(rf"{flag}(?![\w-])", help_text), f"{path} {flag}"
