import pytest
from conftest import ROOT, python

# Parses a wrong flag with every script in one process.
PARSING = """
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--no-such-flag"]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert ended.code == 2, script
    assert errors.getvalue().startswith(script.rpartition("/")[2] + ": "), (script, errors.getvalue())
    for package in ("keras", "tensorflow", "jax", "tf_keras", "matplotlib", "sklearn", "scipy"):
        assert package not in sys.modules, f"{script} imports {package}"
"""


@pytest.mark.parametrize(
    ("folder", "count"), [("recipes", 7), ("recipes/study", 3), ("export", 7), ("tests/benchmarks", 1)]
)
def test_a_wrong_flag_is_told_before_anything_heavy_is_imported(folder, count):
    # What has a command line gives it its docstring.
    scripts = [str(path) for path in (ROOT / folder).glob("*.py") if "__doc__" in path.read_text()]
    assert len(scripts) == count
    python(PARSING, *scripts)
