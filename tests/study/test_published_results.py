"""The accuracies and gains on all pages: what the runs beside them say, to the last digit."""

import itertools
import re

import numpy as np
import pytest
from comparison_records import read_records
from comparison_report import accuracies, pairs, table
from conftest import ROOT
from intervals import mean_gain

RESULTS = ROOT / "recipes" / "results"
PAGES = {page.parent.name: page.read_text() for page in sorted(RESULTS.glob("**/README.md"))}
GAIN = r"[+-]\d+\.\d\d \[[+-]\d+\.\d\d, [+-]\d+\.\d\d\]"
FIGURE = rf"\d+\.\d\d ± \d+\.\d\d|{GAIN}"

POOLED = re.findall(r"`python recipes/study/gains\.py ([^`]*)`", "".join(PAGES.values()))

COMPARISONS, SCREENINGS = {}, {}
for path in sorted(RESULTS.glob("*/results.json")):
    runs = read_records(path.parent)
    (SCREENINGS if "levels" in runs[0] else COMPARISONS)[path.parent.name] = runs


def figures(runs, split, key):
    """All that a table can say of one depth of a comparison."""
    grouped = accuracies([run for run in runs if split in run], split)
    of_depth = {method: list(values.values()) for (method, found), values in grouped.items() if found == key}
    means = {f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" for values in of_depth.values() if len(values) > 1}
    paired = [pairs(grouped, method, key, baseline) for method in of_depth for baseline in of_depth]
    return means | {str(mean_gain(found)) for found in paired if found}


def test_accuracies_and_gains_are_those_of_the_comparison():
    """Lines of tables that have accuracies of one depth."""
    count = 0
    for name, page in PAGES.items():
        comparisons = [read_records(path.parent) for path in (RESULTS / name).glob("**/results.json")]
        for depth, line in re.findall(r"^\| (\d+) \|(.*±.*)\|$", page, re.MULTILINE):
            found = set(re.findall(FIGURE, line))
            splits = itertools.product(comparisons, ("train", "validation", "test"))
            known = [figures(runs, split, f"depth_{depth}") for runs, split in splits]
            assert found <= set().union(*known), (name, line)
            count += 1
    assert count >= 63


@pytest.mark.parametrize("command", POOLED)
def test_several_comparisons_together(printed, command):
    words = [found for word in command.split() for found in sorted(map(str, ROOT.glob(word))) or [word]]
    shown = printed("recipes/study/gains.py", *words)
    assert sum(f"{command}`\n\n{shown}" in page for page in PAGES.values()) == 1


def test_gains_that_the_first_page_speaks_of_are_in_the_results():
    gains = re.findall(GAIN, (ROOT / "README.md").read_text())
    # The summary repeats them.
    detailed = "".join(page for name, page in PAGES.items() if name != "results")
    assert gains and [gain for gain in gains if gain not in detailed] == []


def test_the_summary_has_gains_of_the_studies():
    summary, *details = PAGES["together"].split("\n## ")[1:]
    gains = re.findall(GAIN, summary)
    others = "".join([*details, *(page for name, page in PAGES.items() if name != "together")])
    assert len(gains) >= 35 and [gain for gain in gains if gain not in others] == []


def test_gains_of_the_fit(printed):
    shown = printed("recipes/study/gains.py", "--split", "train", RESULTS / "cifar10_10000_width32")
    gains = re.findall(GAIN, shown)
    assert len(gains) == 18
    assert all(gain in PAGES["cifar10_10000_width32"] for gain in gains)


def test_all_comparisons_at_a_glance(printed):
    folders = [*sorted(RESULTS.glob("cifar10_*")), *sorted(RESULTS.glob("fashion_mnist*"))]
    shown = printed("recipes/study/forest_plot.py", *folders)
    assert shown in PAGES["results"]


@pytest.mark.parametrize("name", COMPARISONS)
def test_tables_are_those_of_the_runs(name):
    assert (RESULTS / name / "table.md").read_text() == table(COMPARISONS[name])


@pytest.mark.parametrize("name", SCREENINGS)
def test_effects_are_those_of_the_screening(name):
    lines = [line for line in PAGES[name].splitlines() if line.startswith("| `")]
    written = (RESULTS / name / "table.md").read_text()
    assert len(lines) == written.count("| as given |")
    for line in lines:
        assert " | ".join(re.findall(GAIN, line)) in written


def test_every_picture_and_link_of_a_page_exists():
    for page in RESULTS.glob("**/README.md"):
        links = [link for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in link]
        assert [link for link in links if not (page.parent / link).exists()] == [], page


def test_every_study_is_in_the_index():
    assert len(POOLED) >= 8
    linked = set(re.findall(r"\]\(([^/)]+)/README\.md", PAGES["results"]))
    assert linked == PAGES.keys() - {"results"} >= COMPARISONS.keys() | SCREENINGS.keys()
