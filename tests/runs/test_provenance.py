"""What a run writes down of code, packages and processor, against real checkouts and what systems say of themselves."""

import platform
import subprocess

from conftest import ROOT

from ddnn_keras.runs.provenance import cpu, revision

# Of an x86 server, two cores, and of a 64-bit ARM board.
FIRST = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
SECOND = "processor\t: 1\ncpu family\t: 25\nmodel\t\t: 18\nmodel name\t: the second core\n"
ARM = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"


def git(folder, *words):
    return subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit(tmp_path):
    checkout = tmp_path / "checkout"
    for name in ("ddnn_keras/model.py", "recipes/train.py", "recipes/results/README.md", "README.md"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("1")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "first")
    commit = git(checkout, "rev-parse", "HEAD")
    assert len(commit) == 40 and revision(checkout) == commit
    # Results are written while runs go on.
    for name in ("recipes/results/README.md", "README.md"):
        (checkout / name).write_text("2")
    assert revision(checkout) == commit
    (checkout / "ddnn_keras/new.py").write_text("2")
    assert revision(checkout) == f"{commit}-dirty"


def test_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert revision(ROOT) is None


def test_the_name_of_the_cpu(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(FIRST + SECOND)
    assert cpu(path) == "AMD EPYC, family 25, model 17"
    path.write_text("model name\t: ARMv7 Processor rev 3 (v7l)\n" + ARM)
    assert cpu(path) == "ARMv7 Processor rev 3 (v7l)"
    path.write_text(ARM)
    assert cpu(path) == (platform.processor() or platform.machine())
    path.unlink()
    assert cpu(path) == (platform.processor() or platform.machine())
