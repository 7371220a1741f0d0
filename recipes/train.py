"""Trains one network that holds several depths, and writes a run directory.

For example:

    python recipes/train.py --dataset digits --depths 18 34 50 --width 16
    python recipes/train.py --resume runs/digits_...
"""

import argparse
import contextlib
import dataclasses
import datetime
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import re
import shlex
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from one_at_a_time import one_at_a_time
from rich.console import Console
from rich.table import Table
from several_devices import ALONE, add_arguments, several_devices

from ddnn_keras import DDNN, EKD, data
from ddnn_keras.backbones import BACKBONES
from ddnn_keras.checkpoint import Checkpoint, finished_epochs, load_network, restore_random_states
from ddnn_keras.command_line import (
    ArgumentParser,
    non_negative_integer,
    non_negative_number,
    positive_integer,
    run,
)
from ddnn_keras.cost import count_macs, count_parameters
from ddnn_keras.curves import draw_curves
from ddnn_keras.depths import output_key
from ddnn_keras.distillation import ATTENTION_MAPS, TEACHERS
from ddnn_keras.run_directory import RunDirectory

MOMENTUM = 0.9
STEMS = list(dict.fromkeys(stem for family in BACKBONES.values() for stem in family.STEMS))
PACKAGES = ["ddnn_keras", "keras", "tensorflow", "jax", "numpy"]

# Where a run takes place, and not what it is.
DEVICES = {"distribute", "hosts", "rank"}

# The weights that each way of training switches off.
DISTILLATIONS = {
    "ekd": {},
    "kl": {"attention_weight": 0.0},
    "attention": {"kl_weight": 0.0},
    "none": {"attention_weight": 0.0, "kl_weight": 0.0},
}


def argument_parser(description=__doc__, **defaults):
    """The command line of a recipe, whose defaults a named recipe replaces."""
    parser = ArgumentParser(description)
    add_settings(parser)
    add_distillation(parser)
    add = parser.add_argument
    add("--evaluate-on", default="test", choices=["test", "validation"], help="the split that metrics.json is about")
    add("--tensorboard", action="store_true", help="writes the logs of every depth for TensorBoard, too")
    add("--seed", type=non_negative_integer, default=0, help="of weights, split, order and augmentation")
    add("--output", help="the run directory; by default a new one in runs/")
    add("--resume", metavar="RUN", help="goes on with the run in this directory, with that run's arguments")
    add_arguments(parser)
    parser.set_defaults(**defaults)
    return parser


def add_settings(parser):
    """The arguments that say what is trained, and how, whatever the full-net teaches."""
    add = parser.add_argument
    add("--dataset", default="digits", help="digits, a TensorFlow Datasets name, folder:PATH or npz:PATH")
    add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
    add("--manual-dir", help="where archives lie that were downloaded by hand")
    add("--train-images", type=positive_integer, help="how many of the training images to use; by default all")
    add("--image-size", type=positive_integer, help="height and width of an image; by default the data set's own")
    add("--backbone", default="resnet", choices=BACKBONES, help="family of networks")
    add("--depths", type=int, nargs="+", default=[18, 34, 50], help="the sub-nets; the deepest teaches the others")
    add("--width", type=positive_integer, help="channels of the first stage; by default the published networks'")
    add("--stem", default="cifar", choices=STEMS, help="for small images, or for large ones")
    add("--epochs", type=positive_integer, default=30, help="passes over the training images")
    add("--batch-size", type=positive_integer, default=64, help="images per update")
    add("--learning-rate", type=non_negative_number, default=0.05, help="peak of the cosine schedule")
    add("--warmup-epochs", type=non_negative_integer, default=1, help="epochs of linear warm-up before the cosine")
    add("--weight-decay", type=non_negative_number, default=5e-4, help="L2 penalty, as in SGD's classical form")
    add("--precision", default="float32", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="dtype policy")
    add("--validation-freq", type=positive_integer, default=1, help="epochs from one validation to the next")


def add_distillation(parser):
    """The arguments that say what the full-net teaches."""
    ekd = EKD()
    add = parser.add_argument
    add("--distillation", default="ekd", choices=DISTILLATIONS, help="what the full-net teaches")
    add("--temperature", type=non_negative_number, default=ekd.temperature, help="of the KL divergence")
    add("--kl-weight", type=non_negative_number, default=ekd.kl_weight, help="weight of the KL divergence")
    add(
        "--attention-weight",
        type=non_negative_number,
        default=ekd.attention_weight,
        help="weight of the attention term",
    )
    add("--attention", default=ekd.attention, choices=ATTENTION_MAPS, help="kind of attention map")
    add(
        "--student-weight",
        type=non_negative_number,
        default=1.0,
        help="weight of the sub-nets' cross-entropy beside the full-net's",
    )
    add("--teacher", default=ekd.teacher, choices=TEACHERS, help="whose probabilities teach")


def command(description=__doc__, **defaults):
    """Runs the command line of a recipe."""
    parser = argument_parser(description, **defaults)
    run(lambda arguments: main(arguments, parser), parser)


def main(arguments, parser):
    """Trains a new network, or goes on with a run."""
    devices = arguments
    if arguments.resume:
        run_directory = RunDirectory(arguments.resume)
        arguments = resumed(run_directory, parser)
        if is_finetuned(run_directory):
            raise ValueError(f"{run_directory.path} was begun by finetune_qat.py: its --resume goes on with it.")
    else:
        run_directory = RunDirectory(arguments.output or new_output(arguments))
        if not devices.rank:  # the others share the folder with the first
            unused(run_directory)
        arguments = with_absolute_paths(arguments)
    if arguments.tensorboard:
        check_tensorboard()
    with several_devices(devices, arguments.batch_size) as share:
        train(arguments, run_directory, share=share)
    print(f"Next: python export/to_tflite.py --model {shlex.quote(str(run_directory.model))} --depth all")


def unused(run_directory):
    """The directory of a new run, which must not hold another."""
    if found := [file.name for file in run_directory.files if file.exists()]:
        raise ValueError(
            f"--output {run_directory.path} holds {', '.join(found)} already: --resume goes on with a run."
        )
    return run_directory


def finished_run(path):
    """The run that a recipe takes up.

    Args:
        path: Its directory, or `None` for the newest in runs/ that train.py finished.

    Returns:
        A pair of the `RunDirectory` and its arguments, an `argparse.Namespace`.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If it is not finished, or fine-tuned already.
    """
    if path is None:
        run_directory = RunDirectory.newest(holding="metrics", suitable=lambda run: not is_finetuned(run))
        print(f"Run: {run_directory.path} (the newest)")
    else:
        run_directory = RunDirectory(path)
    config = run_directory.read_config()
    if is_finetuned(run_directory):
        raise ValueError(f"--run must be a run of train.py. Received: {path}, which is fine-tuned already")
    if not run_directory.metrics.is_file():
        raise ValueError(f"--run must be a finished run. Received: {path}, which train.py --resume finishes")
    return run_directory, argparse.Namespace(**saved_arguments(config))


def is_finetuned(run_directory):
    """Whether a run went on from another one."""
    return "source" in run_directory.read_config()["arguments"]


def resumed(run_directory, parser):
    """A run's own arguments; other ones on the command line would not give the run that was begun."""
    config, typed = run_directory.read_config(), parser.typed()
    saved, backend = saved_arguments(config), keras.backend.backend()
    if config["backend"] != backend:
        raise ValueError(f"{run_directory.path} was begun with KERAS_BACKEND={config['backend']}. Received: {backend}")
    for name in set(typed) - {"resume", *DEVICES}:
        flag = "--" + name.replace("_", "-")
        if name not in saved:
            raise ValueError(f"{flag} does not go with --resume.")
        if typed[name] != saved[name]:
            raise ValueError(f"{flag} {typed[name]} differs from the {saved[name]} that {run_directory.path} has.")
    return argparse.Namespace(**saved)


def saved_arguments(config):
    """The arguments in a run's `config.json`; those that came into being later have defaults that change nothing."""
    return {**of_the_run(argument_parser().parse_args([])), **config["arguments"]}


def of_the_run(arguments):
    """The arguments that make a run what it is: a dict of all but those that say where it is."""
    return {name: value for name, value in vars(arguments).items() if name not in {"output", "resume", *DEVICES}}


def with_absolute_paths(arguments):
    """The arguments, so that a run finds its data from any folder."""
    found = vars(arguments).copy()
    for name in ("data_dir", "manual_dir"):
        found[name] = found[name] and str(pathlib.Path(found[name]).expanduser().absolute())
    kind, colon, path = found["dataset"].partition(":")
    if kind in ("folder", "npz"):
        found["dataset"] = kind + colon + str(pathlib.Path(path).expanduser().absolute())
    return argparse.Namespace(**found)


def new_output(arguments):
    """A run directory that names what was trained, and when."""
    depths = "-".join(map(str, arguments.depths))
    dataset = re.sub(r"[^A-Za-z0-9]+", "-", arguments.dataset)
    now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return f"runs/{dataset}_{arguments.backbone}_{depths}_{arguments.distillation}_{now}"


def train(arguments, run_directory, new_network=None, share=ALONE):
    """Trains the network that `arguments` describe, from wherever `run_directory` stands, and tests it.

    A new run begins with `new_network(arguments, images)`, by default `compiled_network`. `share` is what this process
    does of it.
    """
    print(f"Run directory: {run_directory.path}")
    check_depths(arguments)
    images = load_images(arguments)
    # Not before: preparing a data set draws random numbers too.
    keras.utils.set_random_seed(arguments.seed)
    with one_at_a_time(run_directory.path) if share.is_first else contextlib.nullcontext():
        model, first_epoch = begun_network(arguments, images, run_directory, new_network or compiled_network)
        if share.is_first:
            write_config(arguments, images, run_directory)
            run_directory.tidy(first_epoch)
        make_deterministic()
        fit(model, arguments, images, run_directory, first_epoch, share)
        split = {"test": images.test, "validation": images.validation}[arguments.evaluate_on]
        metrics = final_metrics(model, split(arguments.batch_size), share)
        if share.is_first:
            draw_curves(run_directory.read_history(), run_directory.curves)
            run_directory.write_json(run_directory.metrics, metrics)
    print_table(metrics, arguments.evaluate_on)


def load_images(arguments):
    """The data set that the command line asks for."""
    return data.load(
        arguments.dataset,
        image_size=arguments.image_size,
        data_dir=arguments.data_dir,
        manual_dir=arguments.manual_dir,
        train_images=arguments.train_images,
        seed=arguments.seed,
    )


def begun_network(arguments, images, run_directory, new_network):
    """The network as the run left it, and how many epochs it has behind it; a new one for a new run."""
    if run_directory.model.exists():
        model, first_epoch = load_network(run_directory.model), finished_epochs(run_directory.model)
        restore_random_states(model, run_directory.model)
        return model, first_epoch
    return new_network(arguments, images), 0


def write_config(arguments, images, run_directory):
    """Writes down what a new run is."""
    if not run_directory.config.exists():
        run_directory.write_json(run_directory.config, configuration(arguments, images))


def fit(model, arguments, images, run_directory, first_epoch, share):
    """Plain `model.fit`, with a log and a checkpoint of every epoch."""
    try:
        model.fit(
            share.of(images.train(arguments.batch_size, seed=arguments.seed, first_epoch=first_epoch)),
            steps_per_epoch=images.steps_per_epoch(arguments.batch_size),
            initial_epoch=first_epoch,
            epochs=arguments.epochs,
            validation_data=images.validation(arguments.batch_size),
            validation_freq=arguments.validation_freq,
            callbacks=[
                keras.callbacks.TerminateOnNaN(raise_error=True),
                *share.callbacks,
                *(writers(arguments, run_directory) if share.is_first else []),
            ],
            shuffle=False,  # `train` shuffles
            verbose=1 if sys.stdout.isatty() else 2,
        )
    except RuntimeError as error:
        if "NaN or Inf loss" not in str(error):
            raise
        raise ValueError(f"{error} A smaller --learning-rate may help.") from None


def writers(arguments, run_directory):
    """The callbacks that write files, in this order: an epoch that is saved is also logged."""
    tensorboard = [keras.callbacks.TensorBoard(run_directory.tensorboard)] if arguments.tensorboard else []
    return [
        keras.callbacks.CSVLogger(run_directory.history, append=True),
        *tensorboard,
        Checkpoint(run_directory.model),
    ]


def make_deterministic():
    """Makes a run a function of its arguments, so that a resumed one ends as if it had never been killed."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # This also turns XLA off, which on a CPU takes three times as long as TensorFlow's own kernels.
        tf.config.experimental.enable_op_determinism()


def check_depths(arguments):
    """Says in the command line's terms which depths there are."""
    known = BACKBONES[arguments.backbone].DEPTHS
    if unknown := sorted(set(arguments.depths) - set(known)):
        raise ValueError(f"--depths must be among {', '.join(map(str, known))}. Received: {unknown[0]}")


def check_tensorboard():
    """Says before a run begins what Keras' callback would miss in it."""
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f'--tensorboard needs {package}: pip install "ddnn_keras[{package}]"')


def compiled_network(arguments, images):
    """A new network with its optimizer and objective."""
    model = DDNN(
        depths=arguments.depths,
        backbone=arguments.backbone,
        num_classes=images.num_classes,
        input_shape=images.image_shape,
        width=arguments.width,
        stem=arguments.stem,
        dtype=arguments.precision,
    )
    compile_network(model, arguments, images)
    return model


def compile_network(model, arguments, images):
    """Gives a network its optimizer and objective."""
    steps_per_epoch = images.steps_per_epoch(arguments.batch_size)
    *students, full_net = model.output_keys
    model.compile(
        optimizer(arguments, steps_per_epoch),
        loss_weights={**dict.fromkeys(students, arguments.student_weight), full_net: 1.0},
        metrics=["accuracy"],
        distillation=distillation(arguments),
    )


def optimizer(arguments, steps_per_epoch):
    """SGD with Nesterov momentum, linear warm-up and a cosine to zero."""
    warmup_steps = arguments.warmup_epochs * steps_per_epoch
    schedule = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=arguments.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, arguments.epochs * steps_per_epoch - warmup_steps),
    )
    # Keras decays weights outside the momentum; an L2 penalty goes through it and so acts 1 / (1 - momentum) times.
    weight_decay = arguments.weight_decay / (1 - MOMENTUM)
    return keras.optimizers.SGD(schedule, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


def distillation(arguments):
    """The `EKD` that the command line asks for."""
    ekd = EKD(
        temperature=arguments.temperature,
        kl_weight=arguments.kl_weight,
        attention_weight=arguments.attention_weight,
        attention=arguments.attention,
        teacher=arguments.teacher,
    )
    return dataclasses.replace(ekd, **DISTILLATIONS[arguments.distillation])


def configuration(arguments, images):
    """All that made a run: arguments, data facts, versions."""
    return {
        "arguments": of_the_run(arguments),
        "class_names": images.class_names,
        "image_shape": list(images.image_shape),
        "backend": keras.backend.backend(),
        "python": platform.python_version(),
        "versions": versions(),
    }


def versions():
    """The versions of the packages that a run depends on and has."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def final_metrics(model, images, share=ALONE):
    """Each depth's accuracy and loss on a split, and its cost."""
    results = model.evaluate(images, return_dict=True, verbose=0, callbacks=list(share.callbacks))
    metrics = {}
    for depth in model.depths:
        key, subnet = output_key(depth), model.subnet(depth)
        metrics[key] = {
            # Keras drops the prefix where there is one output.
            "accuracy": results.get(f"{key}_accuracy", results.get("accuracy")),
            "loss": results.get(f"{key}_loss", results["loss"]),
            "parameters": count_parameters(subnet),
            "macs": count_macs(subnet),
        }
    return metrics


def print_table(metrics, split):
    """The results, for people."""
    table = Table("depth", f"{split} accuracy", "parameters", "MACs")
    for column in table.columns[1:]:
        column.justify = "right"
    for key, row in metrics.items():
        depth = key.removeprefix("depth_")
        table.add_row(depth, f"{row['accuracy']:.2%}", f"{row['parameters']:,}", f"{row['macs'] / 1e6:,.1f} M")
    Console().print(table)


if __name__ == "__main__":
    command()
