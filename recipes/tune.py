"""Searches EKD's parameters and the learning rate with KerasTuner, on the validation split.

For example:

    python recipes/tune.py --dataset digits --width 16 --epochs 20 --trials 30 --output tuning
    python recipes/tune.py --dataset digits --learning-rate 0.1 --search temperature kl_weight --output temperature

What is not searched has the value of its flag. A search that was stopped goes on when its command is repeated. Several
processes share one search as KerasTuner documents it: all run the same command, with KERASTUNER_ORACLE_IP and
KERASTUNER_ORACLE_PORT naming the chief and KERASTUNER_TUNER_ID being chief, tuner0, tuner1, ...; the chief waits until
a worker that was lost is started again under its name. OUTPUT/trials.json has every trial that did not fail, the best
one first; a trial's accuracy is that of its best epoch, counted within its last training, and 0 where its loss became
NaN or Inf.
"""

import argparse
import contextlib
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from comparison_records import OF_THIS_MACHINE, without_folder
from rich.console import Console
from rich.table import Column, Table

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, positive_integer, run
from ddnn_keras.data.fingerprint import fingerprint, is_same
from ddnn_keras.depths import output_key
from ddnn_keras.distillation import ATTENTION_MAPS, TEACHERS
from ddnn_keras.runs import trainer
from ddnn_keras.runs.arguments import DISTILLATIONS, TERMS, add_distillation, add_settings, check_depths, load_images
from ddnn_keras.runs.folder_lock import one_at_a_time
from ddnn_keras.training.tensorflow_speed import build_optimizer

try:
    import keras_tuner
except ModuleNotFoundError as error:
    ArgumentParser(__doc__).error(f'needs {error.name}: pip install "ddnn_keras[tune]"')

# The ranges are about the values in use: weights of 1 and, for each attention map, that of its authors; temperatures
# up to twice the usual 3 or 4. All are searched in the logarithm.
RANGES = {
    "learning_rate": (0.01, 0.4),
    "temperature": (0.5, 8.0),
    "student_weight": (0.1, 1.0),
    "kl_weight": (0.03, 3.0),
}
CHOICES = {"teacher": list(TEACHERS), "attention": list(ATTENTION_MAPS)}
ATTENTION_WEIGHTS = {"standardized": (0.01, 10.0), "activation": (10.0, 10_000.0)}
SEARCHED = [*RANGES, *CHOICES, "attention_weight"]

OBJECTIVES = {"mean": "val_mean_accuracy", "shallowest": "val_shallowest_accuracy"}


class Search(keras_tuner.HyperModel):
    """What KerasTuner builds and trains for a choice of hyperparameters.

    Args:
        arguments: Those of train.py, as a namespace; the searched ones are replaced.
        images: A `ddnn_keras.data.ImageData`.
    """

    def __init__(self, arguments, images):
        super().__init__(name="ddnn_keras")
        self.arguments = arguments
        self.images = images

    def build(self, hp):
        """A compiled network; every trial starts from the same weights."""
        keras.utils.set_random_seed(self.arguments.seed)
        arguments = {**vars(self.arguments), **chosen(hp, self.arguments)}
        return trainer.compiled_network(argparse.Namespace(**arguments), self.images)

    def fit(self, hp, model, epochs=None, initial_epoch=0, callbacks=(), **kwargs):
        """Trains the network, from `initial_epoch` where Hyperband goes on with a trial."""
        arguments, images = self.arguments, self.images
        steps_per_epoch = images.steps_per_epoch(arguments.batch_size)
        # KerasTuner restores weights alone; the schedule of the learning rate follows the optimizer's count.
        build_optimizer(model)
        model.optimizer.iterations.assign(initial_epoch * steps_per_epoch)
        history = model.fit(
            images.train(arguments.batch_size, seed=arguments.seed, first_epoch=initial_epoch),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=initial_epoch,
            epochs=epochs or arguments.epochs,
            validation_data=images.validation(arguments.batch_size),
            # Before KerasTuner's own, which read the objective.
            callbacks=[Objectives(model), *callbacks],
            shuffle=False,
            **kwargs,
        )
        if not np.isfinite(history.history["loss"]).all():
            # Not a trial that failed, which would teach the search nothing, and three of which in a row would end it.
            history.history |= {name: [0.0] * len(history.epoch) for name in OBJECTIVES.values()}
        return history


class Objectives(keras.callbacks.Callback):
    """Logs what is searched for: the validation accuracy's mean over depths, and the shallowest depth's.

    It also ends a training whose loss is no number any more.

    Args:
        model: The `DDNN` that is trained.
    """

    def __init__(self, model):
        super().__init__()
        self._names = [f"val_{output_key(depth)}_accuracy" for depth in model.depths]

    def on_epoch_end(self, epoch, logs=None):
        """Adds to the logs."""
        accuracies = [logs[name] for name in self._names]
        logs[OBJECTIVES["mean"]] = float(np.mean(accuracies))
        logs[OBJECTIVES["shallowest"]] = accuracies[0]
        if not np.isfinite(logs["loss"]):
            self.model.stop_training = True


def chosen(hp, arguments):
    """The arguments of train.py that a trial has: those that are searched, as chosen, and the others as they are."""
    found = {name: vars(arguments)[name] for name in SEARCHED}
    for name in arguments.search:
        if name in RANGES:
            found[name] = hp.Float(name, *RANGES[name], sampling="log")
        elif name in CHOICES:
            found[name] = hp.Choice(name, CHOICES[name])
    if "attention_weight" in arguments.search:
        found["attention_weight"] = attention_weight(hp, found["attention"], "attention" in arguments.search)
    return found


def attention_weight(hp, attention, searched):
    """The weight of an attention map, which has a range of its own; all ranges are known to the first trial."""
    if not searched:
        return hp.Float(f"{attention}_weight", *ATTENTION_WEIGHTS[attention], sampling="log")
    for name, limits in ATTENTION_WEIGHTS.items():
        with hp.conditional_scope("attention", [name]):
            weight = hp.Float(f"{name}_weight", *limits, sampling="log")
            if name == attention:
                found = weight
    return found


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add_settings(parser)
    add_distillation(parser)
    add = parser.add_argument
    add("--search", nargs="+", default=SEARCHED, choices=SEARCHED, metavar="NAME", help="among " + ", ".join(SEARCHED))
    add("--tuner", default="bayesian", choices=TUNERS, help="how to choose the next trial")
    add("--trials", type=positive_integer, default=20, help="how many trainings; Hyperband decides this itself")
    add("--objective", default="mean", choices=OBJECTIVES, help="the accuracy that counts: of all depths, or of one")
    add("--seed", type=non_negative_integer, default=0, help="of the search, of weights, split, order and augmentation")
    add("--output", required=True, help="folder of the search; one that exists is gone on with")
    return parser


def hyperband(arguments, **shared):
    """Many short trainings, of which the best go on (https://arxiv.org/abs/1603.06560)."""
    return keras_tuner.Hyperband(max_epochs=arguments.epochs, **shared)


def bayesian(arguments, **shared):
    """Full trainings: half of them at random, each other one where a Gaussian process expects most.

    KerasTuner's own rule, three random trials for each parameter, would leave none for the process by default.
    """
    points = max(1, arguments.trials // 2)
    return keras_tuner.BayesianOptimization(max_trials=arguments.trials, num_initial_points=points, **shared)


TUNERS = {"bayesian": bayesian, "hyperband": hyperband}


def main(arguments, typed):
    """Searches, and shows the trials; a process that works for a chief shows nothing."""
    # As KerasTuner tells them apart.
    worker = "KERASTUNER_ORACLE_IP" in os.environ and "chief" not in os.environ.get("KERASTUNER_TUNER_ID", "")
    if arguments.validation_freq != 1:
        raise ValueError(f"--validation-freq must be 1: every epoch counts. Received: {arguments.validation_freq}")
    check_depths(arguments, at_least=2)
    arguments.search = in_order(arguments.search)
    check_search(arguments, typed)
    output = pathlib.Path(arguments.output).absolute()
    settings = output / "settings.json"
    images = load_images(arguments)
    with contextlib.nullcontext() if worker else one_at_a_time(output):
        if settings.exists():
            check_settings(arguments, images, settings)
        trainer.make_deterministic()
        try:
            with contextlib.nullcontext() if worker or settings.exists() else begun(arguments, images, settings):
                tuner = new_tuner(arguments, images, output)
            try:
                # A chief waits here until others have made the trials.
                tuner.search(verbose=2)
            finally:
                if not worker:
                    report(tuner.oracle, arguments, output)
        except RuntimeError as error:  # KerasTuner gives up after some trials in a row that failed
            raise ValueError(f"The search stopped: {last_line(error)}") from error
        if not worker:
            check_trials(tuner.oracle.trials.values())


def check_trials(trials):
    """Raises a `ValueError` if trials failed and none did not: too few in a row for KerasTuner to say so."""
    messages = [trial.message for trial in trials if trial.message]
    if messages and all(trial.score is None for trial in trials):
        raise ValueError(f"No trial came to its end: {last_line(messages[-1])}")


def last_line(traceback):
    """What a traceback says in the end."""
    return str(traceback).strip().splitlines()[-1]


def in_order(names):
    """What is searched, in the one order that two commands for the same search have."""
    return [name for name in SEARCHED if name in names]


def check_search(arguments, typed):
    """Raises a `ValueError` if something is searched that has no effect, or that has a value already."""
    ekd = trainer.distillation(arguments)
    for weight, names in TERMS.items():
        for name in [name for name in names if name in arguments.search]:
            if weight in DISTILLATIONS[arguments.distillation]:
                raise ValueError(
                    f"--search must not have {name}, which --distillation {arguments.distillation} leaves out: name "
                    f"what else is searched. Received: {' '.join(arguments.search)}"
                )
            if weight not in arguments.search and not vars(ekd)[weight]:
                raise ValueError(f"--search {name} needs a --{weight.replace('_', '-')} above 0. Received: 0")
    for name in sorted(set(arguments.search) & set(typed)):
        raise ValueError(
            f"--{name.replace('_', '-')} must not have a value where it is searched: name what else is with --search. "
            f"Received: {typed[name]}"
        )


@contextlib.contextmanager
def begun(arguments, images, path):
    """Writes what all trials have in common, for workers too; a search that does not begin spoils no folder."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(settings_of(arguments, images), indent=1) + "\n")
    try:
        yield
    except BaseException:
        path.unlink()
        raise


def settings_of(arguments, images):
    """What all trials of a search have in common."""
    own = {"trials", "output", *OF_THIS_MACHINE}
    settings = {name: value for name, value in vars(arguments).items() if name not in own}
    settings["dataset"] = without_folder(arguments.dataset)
    return {**settings, "backend": keras.backend.backend(), "data": fingerprint(images)}


def check_settings(arguments, images, path):
    """Refuses to go on with a search that had other settings or images: its trials would not compare."""
    settings = settings_of(arguments, images)
    data = settings.pop("data")
    # Searches of before these were kept do not say.
    kept = {"backend": keras.backend.backend(), "data": data, **json.loads(path.read_text())}
    kept["search"], kept["dataset"] = in_order(kept["search"]), without_folder(kept["dataset"])
    if not is_same(kept["data"], data):
        raise ValueError(
            f"--dataset {arguments.dataset} has other images than the search in {path.parent}: use another folder."
        )
    for name, value in settings.items():
        if kept.get(name) != value:
            flag = "KERAS_BACKEND" if name == "backend" else "--" + name.replace("_", "-")
            raise ValueError(f"{flag} {value} differs from the {kept.get(name)} of {path.parent}: use another folder.")


def new_tuner(arguments, images, output):
    """KerasTuner's tuner, which goes on with the search in `output` if there is one."""
    # It does so where this process' own file is, and that has another name with a chief than without.
    own = output / f"{os.environ.get('KERASTUNER_TUNER_ID', 'tuner0')}.json"
    if (output / "oracle.json").exists() and not own.exists():
        own.write_text("{}")
    return TUNERS[arguments.tuner](
        arguments,
        hypermodel=Search(arguments, images),
        objective=keras_tuner.Objective(OBJECTIVES[arguments.objective], "max"),
        seed=arguments.seed + 1,  # it takes 0 for none
        directory=output.parent,
        project_name=output.name,
    )


def report(oracle, arguments, output):
    """Writes and shows the trials that are done, the best one first."""
    trials = [record(trial, arguments) for trial in oracle.get_best_trials(len(oracle.trials))]
    trials = [trial for trial in trials if trial["accuracy"] is not None]  # the others failed
    with atomic_write(output / "trials.json") as temporary:
        temporary.write_text(json.dumps(trials, indent=1) + "\n")
    print_table(trials, arguments.search)


def record(trial, arguments):
    """A trial as plain data."""
    hp = trial.hyperparameters
    return {
        "accuracy": trial.score,
        "best_epoch": trial.best_step + 1,
        # Hyperband decides how long a trial is trained, and goes on with the best ones.
        "epochs": hp.values.get("tuner/epochs", arguments.epochs),
        "first_epoch": hp.values.get("tuner/initial_epoch", 0),
        "arguments": chosen(hp, arguments),
    }


def print_table(trials, names):
    """The ten best trials, and what was searched."""
    table = Table(*(Column(name, overflow="fold") for name in ("accuracy", *names)))
    for trial in trials[:10]:
        values = [trial["arguments"][name] for name in names]
        cells = [f"{value:.3g}" if isinstance(value, float) else value for value in values]
        table.add_row(f"{trial['accuracy']:.2%}", *cells)
    Console().print(table)


if __name__ == "__main__":
    parser = argument_parser()
    run(lambda arguments: main(arguments, parser.typed()), parser)
