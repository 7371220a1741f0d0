"""What a run was made with, besides its arguments: code, packages and processor."""

import contextlib
import importlib.metadata
import pathlib
import platform
import re
import subprocess

import keras

PACKAGES = ["ddnn_keras", "keras", "tensorflow", "jax", "numpy"]

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
# What decides about a run. Results and documents do not, and are changed while runs go on.
CODE = ["ddnn_keras", "recipes/*.py"]


def provenance():
    """All of it."""
    return {
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "versions": versions(),
        "revision": revision(),
        "processor": processor(),
    }


def versions():
    """The versions of the packages that a run depends on and has."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def revision(checkout=CHECKOUT):
    """The commit, with `-dirty` if the code was changed since; `None` without git."""
    try:
        commit = git(checkout, "rev-parse", "HEAD")
        return commit + ("-dirty" if git(checkout, "status", "--porcelain", "--", *CODE) else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def git(checkout, *words):
    """What a git command prints. It takes no lock that another command might wait for."""
    command = ["git", "--no-optional-locks", "-C", checkout, *words]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def processor():
    """The name of what a run computes on: the first GPU or TPU, or else the CPU."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        return cpu()
    import jax

    device = jax.local_devices()[0]
    return cpu() if device.platform == "cpu" else device.device_kind


def cpu(cpuinfo="/proc/cpuinfo"):
    """The CPU's name. On x86 also family and model, for the name may not say of which generation it is."""
    path = pathlib.Path(cpuinfo)
    text = path.read_text() if path.is_file() else ""
    # Of the first core.
    fields = dict(reversed(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE)))
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    numbers = [f"{field.split()[-1]} {fields[field]}" for field in ("cpu family", "model") if field in fields]
    return ", ".join([fields["model name"], *numbers])
