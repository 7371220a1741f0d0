"""The flags of train.py and of every recipe that trains as it does. Keras is imported only when images are loaded."""

import argparse
import pathlib
import re

from ddnn_keras.backbones import BACKBONES, STEMS, family_named
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, non_negative_number, positive_integer

# Where a run takes place, and not what it is.
DEVICES = {"distribute", "hosts", "rank"}

# EKD's own, written down here because importing it takes seconds.
ATTENTION_MAPS = ("standardized", "activation")
TEACHERS = ("full-net", "mean")
EKD_DEFAULTS = {
    "temperature": 1.0,
    "kl_weight": 1.0,
    "attention_weight": 0.1,
    "attention": "standardized",
    "teacher": "full-net",
}

# The weights that each choice of --distillation switches off.
DISTILLATIONS = {
    "ekd": {},
    "kl": {"attention_weight": 0.0},
    "attention": {"kl_weight": 0.0},
    "none": {"attention_weight": 0.0, "kl_weight": 0.0},
}
# The arguments of each term that a weight of 0 switches off.
TERMS = {"kl_weight": ("kl_weight", "temperature", "teacher"), "attention_weight": ("attention_weight", "attention")}


def argument_parser(description, **defaults):
    """The command line of a recipe, with that recipe's own defaults."""
    parser = ArgumentParser(description)
    add_settings(parser)
    add_distillation(parser)
    add_teacher_epochs(parser)
    add_run(parser)
    add_devices(parser)
    parser.set_defaults(**defaults)
    return parser


def add_run(parser):
    """The arguments that say what is written where."""
    add = parser.add_argument
    add("--evaluate-on", default="test", choices=["test", "validation"], help="the split that metrics.json is about")
    add("--tensorboard", action="store_true", help="writes the logs of every depth for TensorBoard, too")
    add("--seed", type=non_negative_integer, default=0, help="of weights, split, order and augmentation")
    add("--output", help="the run directory; by default a new one in runs/")
    add("--resume", metavar="RUN", help="goes on with the run in this directory, with that run's arguments")


def add_settings(parser):
    """The arguments that say what is trained, and how, whatever the full-net teaches."""
    add_data(parser)
    add = parser.add_argument
    add("--backbone", default="resnet", choices=BACKBONES, help="family of networks")
    add("--depths", type=int, nargs="+", default=[18, 34, 50], help="the sub-nets; the deepest teaches the others")
    add("--width", type=positive_integer, help="channels of the first stage; by default the published networks'")
    add("--stem", default="cifar", choices=STEMS, help="for small images, or for large ones")
    add("--pretrained", help="published weights of the backbone to start from, such as efficientnet_lite0")
    add_epochs(parser)
    add("--batch-size", type=positive_integer, default=64, help="images per update")
    add("--learning-rate", type=non_negative_number, default=0.05, help="peak of the cosine schedule")
    add("--warmup-epochs", type=non_negative_integer, default=1, help="epochs of linear warm-up before the cosine")
    add("--weight-decay", type=non_negative_number, default=5e-4, help="L2 penalty, as in SGD's classical form")
    add_precision(parser)
    add("--validation-freq", type=positive_integer, default=1, help="epochs from one validation to the next")


def add_precision(parser):
    """Which numbers the network computes with."""
    choices = ["float32", "mixed_bfloat16", "mixed_float16"]
    parser.add_argument("--precision", default="float32", choices=choices, help="dtype policy")


def add_data(parser):
    """The arguments that say which images."""
    add = parser.add_argument
    add("--dataset", default="digits", help="digits, a TensorFlow Datasets name, folder:PATH or npz:PATH")
    add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
    add("--manual-dir", help="where archives lie that were downloaded by hand")
    add("--train-images", type=positive_integer, help="how many of the training images to use; by default all")
    add("--image-size", type=positive_integer, help="height and width; by default the data set's own, or 224")
    mirror = "whether training mirrors half of the images; by default, only where that is known to keep their labels"
    add("--mirror", action=argparse.BooleanOptionalAction, help=mirror)


def add_epochs(parser):
    """How long a training is."""
    parser.add_argument("--epochs", type=positive_integer, default=30, help="passes over the training images")


def add_distillation(parser):
    """The arguments that say what the full-net teaches."""
    number, add = non_negative_number, parser.add_argument
    add("--distillation", default="ekd", choices=DISTILLATIONS, help="what the full-net teaches")
    add("--temperature", type=number, help="of the KL divergence")
    add("--kl-weight", type=number, help="weight of the KL divergence")
    add("--attention-weight", type=number, help="weight of the attention term")
    add("--attention", choices=ATTENTION_MAPS, help="kind of attention map")
    add("--student-weight", type=number, default=1.0, help="weight of a sub-net's cross-entropy; the full-net's is 1")
    add("--teacher", choices=TEACHERS, help="whose probabilities teach")
    parser.set_defaults(**EKD_DEFAULTS)


def add_teacher_epochs(parser):
    """The argument that makes a training one of two parts."""
    teacher = "epochs of the full-net alone, before: its weights start all depths, and it teaches them"
    parser.add_argument("--teacher-epochs", type=non_negative_integer, default=0, help=teacher)


def add_devices(parser):
    """The arguments that say where a training runs. They do not change what comes out of it."""
    add = parser.add_argument
    add("--distribute", action="store_true", help="trains on all devices of this machine, and of the --hosts")
    hosts = "all machines that run this command, in one order (JAX)"
    add("--hosts", nargs="+", type=address, metavar="ADDRESS:PORT", help=hosts)
    add("--rank", type=non_negative_integer, default=0, help="which of the --hosts this machine is, from 0")


def address(text):
    """An address and its port, as JAX wants every host."""
    found = re.fullmatch(r"\S+:(\d+)", text)
    if not found or not 0 < int(found[1]) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not ADDRESS:PORT")
    return text


def argument_names(add):
    """The names of the arguments that `add` gives a parser."""
    parser = ArgumentParser("")
    add(parser)
    return list(vars(parser.parse_args([])))


def setting_flags(arguments):
    """The flags of train.py that all runs have in common."""
    names = [name for name in argument_names(add_settings) if name != "depths"]
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


def check_effect(option, distillation, names):
    """Raises a `ValueError` if `names` has an argument that this choice of --distillation leaves out."""
    for weight in DISTILLATIONS[distillation]:
        for name in TERMS[weight]:
            if name in names:
                raise ValueError(
                    f"{option} must not set --{name.replace('_', '-')}, which --distillation {distillation} leaves out."
                )


def load_images(arguments):
    """The data set that the command line asks for."""
    from ddnn_keras import data

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
