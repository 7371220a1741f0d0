"""The flags of train.py and of every recipe that trains as it does. Keras is imported only when images are loaded."""

import argparse
import pathlib
import re

from ddnn_keras.backbones import BACKBONES, STEMS, family_named
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, non_negative_number, positive_integer

# EKD's own, written down here because importing it takes seconds.
ATTENTION_MAPS = ("standardized", "activation")
TEACHERS = ("full-net", "mean")

# The weights that each choice of --distillation switches off.
DISTILLATIONS = {
    "ekd": {},
    "kl": {"attention_weight": 0.0},
    "attention": {"kl_weight": 0.0},
    "none": {"attention_weight": 0.0, "kl_weight": 0.0},
}
# The arguments of each term that a weight of 0 switches off.
TERMS = {"kl_weight": ("kl_weight", "temperature", "teacher"), "attention_weight": ("attention_weight", "attention")}


def address(text):
    """An address and its port, as JAX wants every host."""
    found = re.fullmatch(r"\S+:(\d+)", text)
    if not found or not 0 < int(found[1]) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not ADDRESS:PORT")
    return text


# What argparse is told of each flag of train.py, by the argument's name.
COUNT, INTEGER, NUMBER = ({"type": kind} for kind in (positive_integer, non_negative_integer, non_negative_number))
MIRROR = "whether training mirrors half of the images; by default, only where that is known to keep their labels"
TEACHER = "epochs of the full-net alone, before: its weights start all depths, and it teaches them"
HOSTS = "all machines that run this command, in one order (JAX)"
PRECISIONS = ["float32", "mixed_bfloat16", "mixed_float16"]
DATA = {  # which images
    "dataset": {"default": "digits", "help": "digits, a TensorFlow Datasets name, folder:PATH or npz:PATH"},
    "data_dir": {"help": "where TensorFlow Datasets keeps prepared data sets"},
    "manual_dir": {"help": "where archives lie that were downloaded by hand"},
    "train_images": {**COUNT, "help": "how many of the training images to use; by default all"},
    "image_size": {**COUNT, "help": "height and width; by default the data set's own, or 224"},
    "mirror": {"action": argparse.BooleanOptionalAction, "help": MIRROR},
}
SETTINGS = {  # what is trained, and how, whatever the full-net teaches
    **DATA,
    "backbone": {"default": "resnet", "choices": BACKBONES, "help": "family of networks"},
    "depths": {"type": int, "nargs": "+", "default": [18, 34, 50], "help": "sub-nets; the deepest teaches the others"},
    "width": {**COUNT, "help": "channels of the first stage; by default the published networks'"},
    "stem": {"default": "cifar", "choices": STEMS, "help": "for small images, or for large ones"},
    "pretrained": {"help": "published weights of the backbone to start from, such as efficientnet_lite0"},
    "epochs": {**COUNT, "default": 30, "help": "passes over the training images"},
    "batch_size": {**COUNT, "default": 64, "help": "images per update"},
    "learning_rate": {**NUMBER, "default": 0.05, "help": "peak of the cosine schedule"},
    "warmup_epochs": {**INTEGER, "default": 1, "help": "epochs of linear warm-up before the cosine"},
    "weight_decay": {**NUMBER, "default": 5e-4, "help": "L2 penalty, as in SGD's classical form"},
    "precision": {"default": "float32", "choices": PRECISIONS, "help": "dtype policy"},
    "validation_freq": {**COUNT, "default": 1, "help": "epochs from one validation to the next"},
}
DISTILLATION = {  # what the full-net teaches
    "distillation": {"default": "ekd", "choices": DISTILLATIONS, "help": "what the full-net teaches"},
    "temperature": {**NUMBER, "default": 1.0, "help": "of the KL divergence"},
    "kl_weight": {**NUMBER, "default": 1.0, "help": "weight of the KL divergence"},
    "attention_weight": {**NUMBER, "default": 0.1, "help": "weight of the attention term"},
    "attention": {"default": "standardized", "choices": ATTENTION_MAPS, "help": "kind of attention map"},
    "student_weight": {**NUMBER, "default": 1.0, "help": "weight of a sub-net's cross-entropy; the full-net's is 1"},
    "teacher": {"default": "full-net", "choices": TEACHERS, "help": "whose probabilities teach"},
}
TEACHER_EPOCHS = {"teacher_epochs": {**INTEGER, "default": 0, "help": TEACHER}}
RUN = {  # what is written where
    "evaluate_on": {"default": "test", "choices": ["test", "validation"], "help": "the split of metrics.json"},
    "tensorboard": {"action": "store_true", "help": "writes the logs of every depth for TensorBoard, too"},
    "seed": {**INTEGER, "default": 0, "help": "of weights, split, order and augmentation"},
    "output": {"help": "the run directory; by default a new one in runs/"},
    "resume": {"metavar": "RUN", "help": "goes on with the run in this directory, with that run's arguments"},
}
DEVICES = {  # where a run takes place, and not what it is
    "distribute": {"action": "store_true", "help": "trains on all devices of this machine, and of the --hosts"},
    "hosts": {"nargs": "+", "type": address, "metavar": "ADDRESS:PORT", "help": HOSTS},
    "rank": {**INTEGER, "default": 0, "help": "which of the --hosts this machine is, from 0"},
}
FLAGS = {**SETTINGS, **DISTILLATION, **TEACHER_EPOCHS, **RUN, **DEVICES}


def add_flags(parser, names, **defaults):
    """Adds flags of train.py to a parser, perhaps with other defaults."""
    for name in names:
        parser.add_argument("--" + name.replace("_", "-"), **FLAGS[name])
    parser.set_defaults(**defaults)


def argument_parser(description):
    """The command line of train.py."""
    parser = ArgumentParser(description)
    add_flags(parser, FLAGS)
    return parser


def setting_flags(arguments):
    """The flags of train.py that all runs have in common."""
    names = [name for name in SETTINGS if name != "depths"]
    values = {name: vars(arguments)[name] for name in names if vars(arguments)[name] is not None}
    return [word for name, value in values.items() for word in flag(name.replace("_", "-"), value)]


def flag(name, value):
    """The words of a command line that give an argument its value."""
    return [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]


def check_depths(arguments, at_least=1):
    """Raises a `ValueError` unless the depths are known, differ, and are enough."""
    known = family_named(arguments.backbone).DEPTHS
    received = " ".join(map(str, arguments.depths))
    if len(set(arguments.depths)) < len(arguments.depths):
        raise ValueError(f"--depths must not repeat. Received: {received}")
    if len(arguments.depths) < at_least:
        raise ValueError(f"--depths must be {at_least} or more: nothing teaches one alone. Received: {received}")
    if unknown := sorted(set(arguments.depths) - set(known)):
        raise ValueError(f"--depths must be among {', '.join(map(str, known))}. Received: {unknown[0]}")


def check_effect(option, arguments, names):
    """Raises a `ValueError` if `names` has an argument that has no effect among these arguments."""
    if vars(arguments).get("teacher_epochs") and "teacher" in names:
        raise ValueError(f"{option} must not set --teacher beside --teacher-epochs, whose full-net teaches.")
    for weight in DISTILLATIONS[arguments.distillation]:
        for name in TERMS[weight]:
            if name in names:
                left_out = f"--{name.replace('_', '-')}, which --distillation {arguments.distillation} leaves out"
                raise ValueError(f"{option} must not set {left_out}.")


def load_images(arguments):
    """The data set that the command line asks for."""
    from ddnn_keras import data

    if arguments.dataset.startswith("folder:"):
        print(f"Reading {arguments.dataset.removeprefix('folder:')}", flush=True)
    names = ("image_size", "data_dir", "manual_dir", "train_images", "mirror", "seed")
    try:
        return data.load(arguments.dataset, **{name: vars(arguments)[name] for name in names})
    except ValueError as error:
        raise ValueError(str(error).replace("`name`", "--dataset")) from error


def with_absolute_paths(arguments):
    """The arguments with absolute folders, so that a run finds its data from anywhere."""
    found = vars(arguments).copy()
    for name in ("data_dir", "manual_dir"):
        found[name] = found[name] and str(pathlib.Path(found[name]).expanduser().absolute())
    # These are a name or a file.
    for name in {"pretrained", "start", "weights"} & found.keys():
        if found[name] and pathlib.Path(found[name]).is_file():
            found[name] = str(pathlib.Path(found[name]).absolute())
    kind, colon, path = found["dataset"].partition(":")
    if kind in ("folder", "npz"):
        found["dataset"] = kind + colon + str(pathlib.Path(path).expanduser().absolute())
    return argparse.Namespace(**found)


def of_the_run(arguments):
    """The arguments that make a run what it is: a dict of all but those that say where it is."""
    return {name: value for name, value in vars(arguments).items() if name not in {"output", "resume", *DEVICES}}
