"""The accuracies and gains in both README's tables: what the runs beside them say, to the last digit."""

import json
import re

import numpy as np
import pytest
from comparison_report import accuracies, paired_gain, table
from conftest import ROOT

RESULTS = ROOT / "recipes" / "results"
PAGES = [ROOT / "README.md", RESULTS / "README.md"]
GAIN = r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]"
FIGURE = rf"\d+\.\d\d ± \d+\.\d\d|{GAIN}"

POOLED = re.findall(r"`python recipes/pooled_gains\.py ([^`]*)`", PAGES[1].read_text())

COMPARISONS, SCREENINGS = {}, {}
for path in sorted(RESULTS.glob("*/results.json")):
    runs = json.loads(path.read_text())["runs"]
    (SCREENINGS if "levels" in runs[0] else COMPARISONS)[path.parent.name] = runs


def figures(runs, split, key):
    """All that a table can say of one depth of a comparison."""
    grouped = accuracies([run for run in runs if split in run], split)
    of_depth = {method: list(values.values()) for (method, found), values in grouped.items() if found == key}
    means = {f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for values in of_depth.values() if len(values) > 1}
    gains = [paired_gain(grouped, method, key, baseline) for method in of_depth for baseline in of_depth]
    return means | {str(gain) for gain in gains}


def rows_of_accuracies(page):
    """The lines of tables that have accuracies of one depth: pairs of the depth and of the line's figures."""
    rows = re.findall(r"^\| (\d+) \|(.*±.*)\|$", page.read_text(), re.MULTILINE)
    return [(f"depth_{depth}", set(re.findall(FIGURE, line))) for depth, line in rows]


def test_accuracies_and_gains_are_those_of_one_comparison():
    known = {
        (name, key): set().union(*(figures(runs, split, key) for split in ("train", "validation", "test")))
        for name, runs in COMPARISONS.items()
        for key in {key for run in runs for key in run["validation"]}
    }
    rows = rows_of_accuracies(PAGES[1])
    assert len(rows) >= 63
    for key, found in rows:
        assert any(found <= figures for (_, of_key), figures in known.items() if of_key == key), (key, found)


@pytest.mark.parametrize("command", POOLED)
def test_several_comparisons_together(main, command):
    words = [found for word in command.split() for found in sorted(map(str, ROOT.glob(word))) or [word]]
    code, printed, errors = main("recipes/study/gains.py", *words)
    assert code == 0, errors
    assert f"{command}`\n\n{printed}" in PAGES[1].read_text()


def test_several_comparisons_are_published_together():
    assert len(POOLED) >= 8


def test_gains_that_the_first_page_speaks_of_are_in_the_results():
    (section,) = re.findall(r"^## Is it better than.*?^## ", PAGES[0].read_text(), re.MULTILINE | re.DOTALL)
    gains = re.findall(GAIN, section)
    assert len(gains) >= 20
    assert [gain for gain in gains if gain not in PAGES[1].read_text()] == []


def test_gains_of_the_fit(main):
    code, printed, errors = main("recipes/study/gains.py", "--split", "train", RESULTS / "cifar10_10000_width32")
    assert code == 0, errors
    gains = re.findall(GAIN, printed)
    assert len(gains) == 15
    assert all(gain in PAGES[1].read_text() for gain in gains)


def test_all_comparisons_at_a_glance(main):
    folders = [*sorted(RESULTS.glob("cifar10_*")), *sorted(RESULTS.glob("fashion_mnist*"))]
    code, printed, errors = main("recipes/study/forest_plot.py", *folders)
    assert code == 0, errors
    assert printed in PAGES[1].read_text()


@pytest.mark.parametrize("name", COMPARISONS)
def test_tables_are_those_of_the_runs(name):
    assert (RESULTS / name / "table.md").read_text() == table(COMPARISONS[name])


@pytest.mark.parametrize("name", SCREENINGS)
def test_effects_are_those_of_the_screening(name):
    (section,) = re.findall(rf"^## {name}\n(.*?)^## ", PAGES[1].read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    written = (RESULTS / name / "table.md").read_text()
    assert len(lines) == written.count("| as given |")
    for line in lines:
        assert " | ".join(re.findall(GAIN, line)) in written
