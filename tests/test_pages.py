"""Every page's code runs and every command on it exists: `make demo`, Python blocks, a board's section, flags."""

import collections
import math
import os
import pathlib
import re
import shlex
import shutil
import sys

import numpy as np
import pytest
import skimage.data
from conftest import ROOT, ended
from PIL import Image

from ddnn_keras import DDNN
from ddnn_keras.network.cost import count_macs, count_parameters
from ddnn_keras.runtime.metadata import read_metadata

FOLDERS = ["", "ddnn_keras", "ddnn_keras/backbones", "ddnn_keras/network", "ddnn_keras/runtime", "export", "recipes"]
PAGES = {folder: (ROOT / folder / "README.md").read_text() for folder in [*FOLDERS, "recipes/study"]}
# What makes a page's example small.
TINY = {
    "depths=(18, 34, 50), width=16": "depths=(10, 18), width=2",
    "epochs=10": "epochs=1",
    '"imagenet"': "None",
    "distillation=EKD())": "distillation=EKD(), jit_compile=False)",
}


def blocks(folder, language="python"):
    return re.findall(rf"```{language}\n(.*?)```", PAGES[folder], flags=re.DOTALL)


def needs_a_device(block):
    return "ddnn_keras.runtime" in block or "ai_edge_litert" in block


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    variables = [f"VENV={sys.prefix}", f"DEMO={folder}", "FLAGS=--width 2 --epochs 1 --depths 10 18"]
    command = ["make", "--no-print-directory", "demo", "--old-file", f"{sys.prefix}/installed-demo", *variables]
    finished = ended(command, cwd=ROOT)
    assert finished.stderr == ""
    return folder, finished.stdout


@pytest.mark.slow
def test_the_demo_leaves_verified_files_and_shows_them_last(demo):
    folder, output = demo
    files = {f"depth_{depth}{suffix}.tflite" for depth in (10, 18) for suffix in ("", "_int8")}
    files.add("bundle_int8.tflite")
    assert {path.name for path in folder.glob("tflite/*.tflite")} == files
    assert output.count("Verified: ") == len(files)
    screen = output[output.rindex("┏") :]
    header = screen[: screen.index("┡")]
    assert all(word in header for word in ("depth", "test", "float32", "int8", "MB", "ms"))
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
    ended([sys.executable, *words[1:]], cwd=ROOT)


@pytest.mark.slow
def test_the_commands_from_photos_to_a_file(tmp_path):
    """Word for word, on parts of two real photos."""
    random = np.random.default_rng(0)
    for name, photo in {"cat": skimage.data.chelsea(), "coffee": skimage.data.coffee()}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(40):
            top, left = (random.integers(0, size - 200) for size in photo.shape[:2])
            part = Image.fromarray(photo[top : top + 200, left : left + 200]).resize((96, 96))
            part.save(tmp_path / "photos" / name / f"{number}.jpg")
    for folder in ("recipes", "export"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (commands,) = (block for block in blocks("", "") if "finetune.py" in block)
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    finished = ended(["bash", "-ec", commands], cwd=tmp_path, env={**os.environ, "PATH": path})
    assert finished.stderr == ""
    assert "Verified: runs/photos/tflite/bundle_int8.tflite" in finished.stdout
    assert finished.stdout.splitlines()[-1].startswith("photos/cat/1.jpg: cat ")


@pytest.mark.slow
def test_the_device_section_in_a_virtual_environment_of_its_own(demo, tmp_path):
    """Word for word, as on a board that has nothing but Python, and needs the package index."""
    folder, _ = demo
    ignored = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "runs", "results")
    shutil.copytree(ROOT, tmp_path / "project", ignore=ignored)
    (installation,) = (block for block in blocks("ddnn_keras/runtime", "") if "pip install" in block)
    path = {**os.environ, "PATH": f"{tmp_path / 'project/.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    environment = {name: value for name, value in path.items() if name != "PYTHONPATH"}
    place = {"cwd": tmp_path / "project", "env": environment}
    ended(["bash", "-ec", installation], **place)
    installed = ended(["bash", "-ec", "pip list"], **place).stdout.lower()
    names = {line.split()[0] for line in installed.splitlines()}
    assert "ai-edge-litert" in names and not names & {"tensorflow", "keras", "jax"}
    for path in folder.glob("tflite/*"):
        shutil.copy(path, tmp_path / "project")
    snippets = filter(needs_a_device, blocks("") + blocks("ddnn_keras/runtime"))
    (tmp_path / "project" / "bundle_int8.cascade.json").write_text("[[10, 0.5], [18, 0.0]]")
    for snippet in snippets:
        snippet = re.sub(r"depth=\d+", "depth=10", snippet).replace("depth_18.tflite", "depth_10.tflite")
        assert re.search(r"^\d$", ended(["python", "-c", snippet], **place).stdout, re.MULTILINE)
    ended(["python", "export/benchmark_tflite.py", "bundle_int8.tflite", "--runs", "3"], **place)


# backbones/test_backbones.py runs the families' page.
@pytest.mark.parametrize("folder", ["", "ddnn_keras", "ddnn_keras/network"])
def test_the_python_of_a_page_runs(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in blocks(folder):
        if not needs_a_device(block):
            for text, small in TINY.items():
                block = block.replace(text, small)
            exec(block, names)
    assert names["model"].count_params() > 0


def test_no_python_stands_on_other_pages():
    assert not any(blocks(folder) for folder in ("export", "recipes", "recipes/study"))


@pytest.mark.slow
def test_the_table_of_families_is_what_networks_cost():
    imagenet = {"num_classes": 1000, "input_shape": (224, 224, 3), "stem": "imagenet"}
    rows = re.findall(r"^\| `(\w+)` \| ([\d ·]+) \| (.*) \|$", PAGES["ddnn_keras/backbones"], re.MULTILINE)
    assert len(rows) == 8
    for family, depths, cells in rows:
        depths = tuple(map(int, depths.split(" · ")))
        model = DDNN(depths, family, **({} if family == "resnet_cifar" else imagenet))
        subnets = [model.subnet(depth) for depth in depths]
        parameters, macs = [list(map(count, subnets)) for count in (count_parameters, count_macs)]
        held = collections.Counter(variable.path for subnet in subnets for variable in subnet.trainable_variables)
        sizes = {variable.path: math.prod(variable.shape) for variable in model.trainable_variables}
        shared = sum(size for path, size in sizes.items() if held[path] > 1)
        assert cells == " | ".join(
            [
                " · ".join(f"{number / 1e6:.3g}" for number in parameters),
                " · ".join(f"{number / 1e6:,.0f}" for number in macs),
                f"{count_parameters(model) / parameters[-1]:.3f}",
                f"{shared / count_parameters(model):.1%}",
                f"{count_macs(model) / sum(macs):.2f}",
            ]
        )


def test_every_command_names_a_script_and_flags_that_exist(main):
    # In blocks of their own, perhaps behind a variable, and between backticks.
    script_and_flags = r"python ((?:recipes|recipes/study|export|tests/benchmarks)/\w+\.py)"
    text = "\n".join(PAGES.values())
    commands = re.findall(rf"^(?:\w+=\S+ )*{script_and_flags}(.*?)(?:#.*)?$", text, flags=re.MULTILINE)
    commands += re.findall(rf"`(?:\w+=\S+ )*{script_and_flags}([^`]*)`", text)
    assert len(commands) >= 30
    for path, arguments in commands:
        code, help_text, _ = main(path, "--help")
        assert code == 0, path
        # Between quotes stand flags of train.py.
        for flag in re.findall(r"--[\w-]+", re.sub("'[^']*'|\"[^\"]*\"", "", arguments)):
            assert re.search(rf"{flag}(?![\w-])", help_text), f"{path} {flag}"
