"""The command line of train.py and of all recipes that train as it does, and what a run keeps of it."""

import argparse
import pathlib

from ddnn_keras import EKD, data
from ddnn_keras.backbones import BACKBONES, STEMS, family_named
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, non_negative_number, positive_integer
from ddnn_keras.distillation import ATTENTION_MAPS, TEACHERS
from ddnn_keras.runs.devices import add_arguments

# Where a run takes place, and not what it is.
DEVICES = {"distribute", "hosts", "rank"}

# The weights that each way of training switches off.
DISTILLATIONS = {
    "ekd": {},
    "kl": {"attention_weight": 0.0},
    "attention": {"kl_weight": 0.0},
    "none": {"attention_weight": 0.0, "kl_weight": 0.0},
}
# The arguments of each term that a weight of 0 switches off.
TERMS = {"kl_weight": ("kl_weight", "temperature", "teacher"), "attention_weight": ("attention_weight", "attention")}


def argument_parser(description, **defaults):
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
    mirror = "whether training mirrors half of the images; by default, only where that is known to keep their labels"
    add("--mirror", action=argparse.BooleanOptionalAction, help=mirror)
    add("--backbone", default="resnet", choices=BACKBONES, help="family of networks")
    add("--depths", type=int, nargs="+", default=[18, 34, 50], help="the sub-nets; the deepest teaches the others")
    add("--width", type=positive_integer, help="channels of the first stage; by default the published networks'")
    add("--stem", default="cifar", choices=STEMS, help="for small images, or for large ones")
    add_epochs(parser)
    add("--batch-size", type=positive_integer, default=64, help="images per update")
    add("--learning-rate", type=non_negative_number, default=0.05, help="peak of the cosine schedule")
    add("--warmup-epochs", type=non_negative_integer, default=1, help="epochs of linear warm-up before the cosine")
    add("--weight-decay", type=non_negative_number, default=5e-4, help="L2 penalty, as in SGD's classical form")
    add("--precision", default="float32", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="dtype policy")
    add("--validation-freq", type=positive_integer, default=1, help="epochs from one validation to the next")


def add_epochs(parser):
    """How long a training is."""
    parser.add_argument("--epochs", type=positive_integer, default=30, help="passes over the training images")


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
    """Says in the command line's terms which depths there are, and how many must be given."""
    known = family_named(arguments.backbone).DEPTHS
    received = " ".join(map(str, arguments.depths))
    if len(set(arguments.depths)) < len(arguments.depths):
        raise ValueError(f"--depths must not repeat. Received: {received}")
    if len(arguments.depths) < at_least:
        raise ValueError(f"--depths must be {at_least} or more: nothing teaches one alone. Received: {received}")
    if unknown := sorted(set(arguments.depths) - set(known)):
        raise ValueError(f"--depths must be among {', '.join(map(str, known))}. Received: {unknown[0]}")


def check_effect(option, distillation, names):
    """Raises a `ValueError` if one of these arguments has no effect where the full-net teaches this."""
    for weight in DISTILLATIONS[distillation]:
        for name in TERMS[weight]:
            if name in names:
                raise ValueError(
                    f"{option} must not set --{name.replace('_', '-')}, which --distillation {distillation} leaves out."
                )


def load_images(arguments):
    """The data set that the command line asks for."""
    return data.load(
        arguments.dataset,
        image_size=arguments.image_size,
        data_dir=arguments.data_dir,
        manual_dir=arguments.manual_dir,
        train_images=arguments.train_images,
        mirror=arguments.mirror,
        seed=arguments.seed,
    )


def with_absolute_paths(arguments):
    """The arguments, so that a run finds its data from any folder."""
    found = vars(arguments).copy()
    for name in ("data_dir", "manual_dir"):
        found[name] = found[name] and str(pathlib.Path(found[name]).expanduser().absolute())
    kind, colon, path = found["dataset"].partition(":")
    if kind in ("folder", "npz"):
        found["dataset"] = kind + colon + str(pathlib.Path(path).expanduser().absolute())
    return argparse.Namespace(**found)


def of_the_run(arguments):
    """The arguments that make a run what it is: a dict of all but those that say where it is."""
    return {name: value for name, value in vars(arguments).items() if name not in {"output", "resume", *DEVICES}}


def saved_arguments(config):
    """The arguments in a run's `config.json`; those that came into being later have defaults that change nothing."""
    return {**of_the_run(argument_parser("").parse_args([])), **config["arguments"]}
