import json

from test_comparison_report import record


def comparison(folder, **accuracies):
    """A comparison of one depth and of as many seeds as each method has accuracies."""
    folder.mkdir()
    found = [
        {**record(method, seed, d8=accuracy), "depths": [8]}
        for method, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    (folder / "results.json").write_text(json.dumps({"runs": found}))
    return folder


def test_pairs_are_of_one_comparison_and_one_seed(printed, tmp_path):
    folders = [
        comparison(tmp_path / "one", alone=[0.80, 0.90], joint=[0.81, 0.92], kl=[0.5]),
        # Far from the other comparison, which only the difference must not show.
        comparison(tmp_path / "other", alone=[0.30], joint=[0.34, 0.99], kl=[0.30], ekd=[0.31]),
    ]
    # A folder that is named twice counts once.
    shown = printed("recipes/study/gains.py", *folders, f"{tmp_path}/other/../one")
    # Differences 1 and 4 of seed 0, whose mean is 2.5, and 2 of seed 1. The mean is 2.25 and the standard error 0.25;
    # Student's t of 1 degree of freedom at 97.5 % is 12.7062.
    assert shown.splitlines() == [
        "| gain in points on the validation split | pairs | seeds | depth 8 |",
        "| --- | --- | --- | --- |",
        "| joint over alone | 3 | 2 | +2.25 [-0.93, +5.43] |",
        "| kl over joint | 2 | 1 | -17.50 |",
        "| kl over alone | 2 | 1 | -15.00 |",
        "| ekd over kl | 1 | 1 | +1.00 |",
        "| ekd over joint | 1 | 1 | -3.00 |",
        "| ekd over alone | 1 | 1 | +1.00 |",
    ]


def test_seeds_that_all_comparisons_have_and_anothers_runs_alone(printed, tmp_path):
    folder = comparison(tmp_path / "one", alone=[0.10, 0.10, 0.10], joint=[0.81, 0.92, 0.99])
    better = comparison(tmp_path / "better", alone=[0.80, 0.90, 0.70], joint=[0.10, 0.10, 0.10])
    shown = printed("recipes/study/gains.py", folder, "--alone", better, "--seeds", 0, 1)
    # Differences 1 and 2, of a standard error of 0.5.
    assert shown.splitlines()[2:] == ["| joint over alone | 2 | 2 | +1.50 [-4.85, +7.85] |"]


def test_mistakes(mistake, tmp_path):
    folder = comparison(tmp_path / "one", alone=[0.80], joint=[0.81])
    sentence = mistake("recipes/study/gains.py", folder, "--split", "test")
    assert "--split must be one that runs were on. Received: test" in sentence
    other = comparison(tmp_path / "other", alone=[0.80], joint=[0.81])
    (other / "results.json").write_text((other / "results.json").read_text().replace('"depths": [8]', '"depths": [14]'))
    sentence = mistake("recipes/study/gains.py", folder, other)
    assert "FOLDER must have the depths of the others. Received: (8,) and (14,)" in sentence
    sentence = mistake("recipes/study/gains.py", tmp_path)
    assert f"FOLDER must have a results.json of compare.py. Received: {tmp_path}" in sentence
