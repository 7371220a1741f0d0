import argparse
import os
import shlex
import sys

import pytest
from conftest import ROOT, ended

from ddnn_keras.command_line import non_negative_integer, non_negative_number, positive_integer, print_table

SCRIPT = """
from ddnn_keras.command_line import ArgumentParser, run

def main(arguments):
    if arguments.fail == "value":
        raise ValueError("`x` must be 1.\\n  Received: x=2")
    if arguments.fail == "other":
        raise ValueError("`how_far` and `y` must be 1. Received: how_far=2")
    if arguments.fail == "file":
        open("/nowhere/at/all")
    if arguments.fail == "bug":
        raise TypeError("ours")
    print("fine, Δ 0")

parser = ArgumentParser("What it does.")
parser.add_argument("--fail", default="no", choices=["no", "value", "other", "file", "bug"], help="how to fail")
parser.add_argument("--how-far", help="what the library calls how_far")
run(main, parser)
"""


def script(*arguments, code=0, **environment):
    return ended([sys.executable, "-c", SCRIPT, *arguments], code, env={**os.environ, **environment})


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--fail", "value"], "x=2"), (["--fail", "file"], "/nowhere/at/all"), (["--fail", "no!"], "no!")],
)
def test_mistakes_are_one_sentence_and_exit_code_2(arguments, named):
    (sentence,) = script(*arguments, code=2).stderr.splitlines()
    assert named in sentence


def test_arguments_have_the_names_of_the_command_line():
    assert script("--fail", "other", code=2).stderr == "-c: --how-far and `y` must be 1. Received: how_far=2\n"


def test_a_reader_that_goes_away_is_no_mistake():
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(SCRIPT)} | true; echo ${{PIPESTATUS[0]}}"
    finished = ended(["bash", "-c", command])
    assert (finished.stdout, finished.stderr) == ("141\n", "")


def test_our_own_bugs_keep_their_traceback():
    assert "Traceback" in script("--fail", "bug", code=1).stderr


def test_what_a_terminal_has_no_letter_for():
    finished = script(PYTHONIOENCODING="latin-1")
    assert (finished.stdout, finished.stderr) == ("fine, ? 0\n", "")


def test_success():
    assert script().stdout == "fine, Δ 0\n"
    assert "default: no" in script("--help").stdout


def test_a_table_shows_names_as_they_are(capsys):
    print_table(["depth", "worst recall"], [[8, "50.0% cat [brown]"]])
    assert "50.0% cat [brown]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "accepted", "refused"),
    [
        (positive_integer, {"1": 1, "20": 20}, ["0", "-1", "1.5", "many", ""]),
        (non_negative_integer, {"0": 0, "7": 7}, ["-1", "1.5", "nan"]),
        (non_negative_number, {"0": 0.0, "1e-4": 1e-4, "3": 3.0}, ["-0.1", "nan", "inf", "much"]),
    ],
)
def test_types(kind, accepted, refused):
    assert {text: kind(text) for text in accepted} == accepted
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=f"^{text} is not"):
            kind(text)


@pytest.mark.parametrize(
    ("environment", "code", "shown"),
    [({}, 0, False), ({"TF_CPP_MIN_LOG_LEVEL": "0"}, 0, True), ({"FAIL": "yes"}, 1, True)],
)
def test_what_tensorflow_logs_while_it_is_imported(tmp_path, environment, code, shown):
    (tmp_path / "tensorflow.py").write_text("import os; os.write(2, b'a log'); assert 'FAIL' not in os.environ")
    program = "import ddnn_keras.command_line, tensorflow; print('fine', file=__import__('sys').stderr)"
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    finished = ended([sys.executable, "-c", program], code, env={**clean, "PYTHONPATH": path, **environment})
    assert ("a log" in finished.stderr, "fine" in finished.stderr) == (shown, code == 0)
