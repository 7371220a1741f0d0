import os
import subprocess
import sys

import pytest

SCRIPT = """
from ddnn_keras.command_line import ArgumentParser, run

def main(arguments):
    if arguments.fail == "value":
        raise ValueError("`x` must be 1. Received: x=2")
    if arguments.fail == "file":
        open("/nowhere/at/all")
    if arguments.fail == "bug":
        raise TypeError("ours")
    print("fine")

parser = ArgumentParser("What it does.")
parser.add_argument("--fail", default="no", choices=["no", "value", "file", "bug"], help="how to fail")
run(main, parser)
"""


def script(*arguments):
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}  # starts faster than the others
    return subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--fail", "value"], "x=2"), (["--fail", "file"], "/nowhere/at/all"), (["--fail", "no!"], "no!"), (["-z"], "-z")],
)
def test_mistakes_are_one_sentence_and_exit_code_2(arguments, named):
    finished = script(*arguments)
    assert finished.returncode == 2
    last = finished.stderr.splitlines()[-1]
    assert named in last
    assert "Traceback" not in finished.stderr
    assert "usage" not in finished.stderr


def test_our_own_bugs_keep_their_traceback():
    finished = script("--fail", "bug")
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr


def test_success():
    finished = script()
    assert (finished.returncode, finished.stdout) == (0, "fine\n")
    assert "default: no" in script("--help").stdout
