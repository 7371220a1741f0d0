"""Searches EKD's parameters and the learning rate with KerasTuner, on the validation split.

For example:

    python recipes/tune.py --dataset digits --width 16 --epochs 20 --trials 30 --output tuning
    python recipes/tune.py --dataset digits --learning-rate 0.1 --search temperature kl_weight --output temperature

What is not searched has the value of its flag. A search that was stopped goes on when its command is repeated.
OUTPUT/trials.json has every trial that did not fail, the best one first. A trial's accuracy is that of its best epoch,
or 0 if its loss became NaN or infinite.

Several processes share one search as KerasTuner documents it. All run the same command. KERASTUNER_ORACLE_IP and
KERASTUNER_ORACLE_PORT name the chief; KERASTUNER_TUNER_ID is chief, tuner0, tuner1, ... A worker that was lost is
started again under its name.
"""

import contextlib
import json
import os
import pathlib

from ddnn_keras.atomic_write import write_json
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer, print_table, run
from ddnn_keras.runs.arguments import DISTILLATION, SETTINGS, add_flags, check_depths, check_effect, load_images
from ddnn_keras.runs.folder_lock import one_at_a_time
from ddnn_keras.runs.search_space import SEARCHED, chosen

# What may differ when a search goes on. The images are compared themselves.
MAY_DIFFER = {"trials", "output", "dataset", "data_dir", "manual_dir"}

parser = ArgumentParser(__doc__)
add_flags(parser, [*SETTINGS, *DISTILLATION])
add = parser.add_argument
add("--search", nargs="+", default=SEARCHED, choices=SEARCHED, metavar="NAME", help="among " + ", ".join(SEARCHED))
add("--trials", type=positive_integer, default=20, help="how many trainings")
add("--objective", default="mean", choices=["mean", "shallowest"], help="whose accuracy counts")
add("--seed", type=non_negative_integer, default=0, help="of the search, of weights, split, order and augmentation")
add("--output", required=True, help="folder of the search; an existing search is continued")


def main(arguments):
    # As KerasTuner tells them apart.
    worker = "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")
    if arguments.validation_freq != 1:
        raise ValueError(f"--validation-freq must be 1: every epoch counts. Received: {arguments.validation_freq}")
    arguments.search = [name for name in SEARCHED if name in arguments.search]  # in one order
    check_effect("--search", arguments, arguments.search)
    typed = parser.typed()
    if given := sorted(typed.keys() & set(arguments.search)):
        raise ValueError(
            f"--{given[0].replace('_', '-')} must not have a value where it is searched. --search names what is "
            f"searched. Received: {typed[given[0]]}"
        )
    check_depths(arguments, at_least=2)
    try:
        from ddnn_keras.runs import search, trainer  # not before: it takes seconds
    except ModuleNotFoundError as error:
        raise ValueError(f'needs {error.name}: pip install "ddnn_keras[tune]"') from error
    output = pathlib.Path(arguments.output).absolute()
    images = load_images(arguments)
    # Both raise where a value is wrong, before the folder is made.
    trainer.distillation(arguments)
    images.steps_per_epoch(arguments.batch_size)
    with contextlib.nullcontext() if worker else one_at_a_time(output):
        same_settings(arguments, images, output / "settings.json")
        trainer.make_deterministic()
        tuner = search.new_tuner(arguments, images, output)
        try:
            tuner.search(verbose=2)  # a chief waits here until others have made the trials
        finally:
            if not worker:
                report(tuner.oracle, arguments, output)


def same_settings(arguments, images, path):
    """Writes what all trials have in common. Raises a `ValueError` if the search had other settings or images."""
    import keras

    from ddnn_keras.runs.fingerprint import fingerprint, is_same

    settings = {name: value for name, value in vars(arguments).items() if name not in MAY_DIFFER}
    settings |= {"tuner": "bayesian", "backend": keras.backend.backend(), "data": fingerprint(images)}
    if not path.exists():
        write_json(path, settings)
        return
    kept = json.loads(path.read_text())
    if not is_same(kept.pop("data"), settings.pop("data")):
        raise ValueError(
            f"--dataset {arguments.dataset} has other images than the search in {path.parent}: use another folder."
        )
    for name, value in settings.items():
        if kept.get(name) != value:
            raise ValueError(f"--output {path.parent} is a search with {name} {kept.get(name)}, not {value}.")


def report(oracle, arguments, output):
    """Writes and shows the trials that are done, the best one first."""
    trials = [
        {"accuracy": one.score, "best_epoch": one.best_step + 1, "arguments": chosen(one.hyperparameters, arguments)}
        for one in oracle.get_best_trials(len(oracle.trials))
        if one.score is not None  # the others failed
    ]
    write_json(output / "trials.json", trials)
    rows = []
    for trial in trials[:10]:
        values = [trial["arguments"][name] for name in arguments.search]
        cells = [f"{value:.3g}" if isinstance(value, float) else value for value in values]
        rows.append([f"{trial['accuracy']:.2%}", *cells])
    print_table(["accuracy", *arguments.search], rows)


if __name__ == "__main__":
    run(main, parser)
