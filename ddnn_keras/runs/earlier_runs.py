"""Runs that were made before: taken up again, or gone on from."""

import argparse
import pathlib

from ddnn_keras.runs.arguments import DEVICES, load_images, with_absolute_paths
from ddnn_keras.runs.run_directory import RunDirectory, check_facts, check_run

# Where the images of a run lie.
PLACES = {"dataset", "data_dir", "manual_dir"}

# What only their runs have among their arguments.
SCRIPTS = {"source": "finetune_qat.py", "start": "finetune.py"}


def unused(run_directory):
    """The directory of a new run, which must not hold another."""
    if found := ", ".join(file.name for file in run_directory.files if file.exists()):
        raise ValueError(f"--output {run_directory.path} holds {found} already: --resume goes on with a run.")
    return run_directory


def finished_run(path):
    """The run that a recipe takes up, with its arguments; without a path, the newest that can be."""
    if path is None:
        run_directory = RunDirectory.newest(holding="metrics", suitable=lambda run: begun_by(run) != SCRIPTS["source"])
        print(f"Run: {run_directory.path} (the newest finished one)")
    else:
        run_directory = RunDirectory(path)
    config = run_directory.read_config()
    if begun_by(run_directory) == SCRIPTS["source"]:
        raise ValueError(f"--run must be a run before finetune_qat.py. Received: {path}, which is fine-tuned already")
    if not run_directory.metrics.is_file():
        raise ValueError(f"--run must be a finished run. Received: {path}, which --resume finishes")
    return run_directory, argparse.Namespace(**config["arguments"])


def begun_by(run_directory):
    """The script that goes on with a run."""
    arguments = run_directory.read_config()["arguments"]
    return next((script for name, script in SCRIPTS.items() if name in arguments), "train.py")


def resumed(run_directory, parser, script="train.py"):
    """A run's own arguments, and where its images lie now; others would not give the run that was begun."""
    if (beginner := begun_by(run_directory)) != script:
        raise ValueError(f"{run_directory.path} was begun by {beginner}: its --resume goes on with it.")
    import keras

    config, typed = run_directory.read_config(), parser.typed()
    saved, backend = config["arguments"], keras.backend.backend()
    if config["backend"] != backend:
        raise ValueError(f"{run_directory.path} was begun with KERAS_BACKEND={config['backend']}. Received: {backend}")
    wanted = vars(with_absolute_paths(argparse.Namespace(**{**saved, **typed})))
    for name in sorted(typed.keys() - {"resume", *DEVICES}):
        flag = "--" + name.replace("_", "-")
        if name not in saved:
            raise ValueError(f"{flag} does not go with --resume.")
        if wanted[name] != saved[name] and not has_moved(name, saved[name], wanted[name]):
            raise ValueError(f"{flag} {typed[name]} differs from the {saved[name]} that {run_directory.path} has.")
    return argparse.Namespace(**{**saved, **{name: wanted[name] for name in PLACES}})


def has_moved(name, before, now):
    """Whether the same images may lie in both places; `check_run` compares them."""
    if name != "dataset":
        return name in PLACES
    kinds = {dataset.partition(":")[0] for dataset in (before, now)}
    return len(kinds) == 1 and kinds <= {"folder", "npz"}


def network_of_file(file, model=None):
    """The `.keras` file of a `.tflite` file: `model`, or that of the run in the folder above."""
    path = pathlib.Path(model) if model else RunDirectory(file.resolve().parent.parent).model
    if not path.is_file():
        raise ValueError(
            f"--model must be the .keras file of {file}, by default that of the run in the folder above. "
            f"There is no {path}"
        )
    return path


def images_of_network(path, arguments, image_shape, num_classes):
    """The data set that `arguments` name. What they leave open, the run in the folder of the network's file tells."""
    run_directory = RunDirectory(path.parent)
    if not (arguments.dataset or run_directory.config.is_file()):
        raise ValueError(f"--dataset must be given: {path} lies in no run directory that tells its data.")
    saved = run_directory.read_config()["arguments"] if run_directory.config.is_file() else {}
    given = {name: vars(arguments)[name] for name in ("dataset", "data_dir", "manual_dir")}
    if arguments.dataset:
        settings = {"image_size": None, "train_images": None, "mirror": None, "seed": saved.get("seed", 0), **given}
    else:
        settings = {**saved, **{name: value for name, value in given.items() if value}}
    images = load_images(argparse.Namespace(**settings))
    if images.image_shape != image_shape and image_shape[0] == image_shape[1]:
        images = images.resized(image_shape[0])
    if (images.image_shape, images.num_classes) != (image_shape, num_classes):
        raise ValueError(
            f"--dataset must have images {image_shape} of {num_classes} classes, as the network takes. "
            f"Received: {settings['dataset']}, {images.image_shape} of {images.num_classes} classes"
        )
    if not arguments.dataset:
        check_run(run_directory, images)
    elif run_directory.config.is_file():
        check_facts(run_directory, {"class_names": images.class_names})
        if run_directory.read_config().get("checksum", images.checksum) != images.checksum:
            print(f"{arguments.dataset} has other photos than {run_directory.path}, which may know some of them.")
    return images
