"""Exports sub-nets of a trained network to TFLite, each file verified against its Keras model.

For example:

    python export/to_tflite.py --depth 18
    python export/to_tflite.py --depth all --bundle --quantize int8
    python export/to_tflite.py --depth all --quantize int8 --model runs/digits_.../model.keras
"""

import os
import pathlib
import re
import shlex

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from ddnn_keras import data
from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.depths import output_key
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.run_directory import RunDirectory, check_run
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE
from ddnn_keras.tflite.export import export_subnets
from ddnn_keras.tflite.modes import MODES

# Grey and colours: what a PNG can show, and run_tflite.py reads.
PICTURE_CHANNELS = (1, 3)
LONGEST_NAME = 60  # of a class in the name of a file, of which file systems take 255 bytes
IO_DTYPES = sorted({dtype for mode in MODES.values() for dtype in mode.io_dtypes})


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--depth", required=True, help="a depth of the network, or all")
    add("--bundle", action="store_true", help="all depths in one file, a signature for each, weights stored once")
    add("--model", help="a .keras file; by default that of the newest run in runs/")
    add("--quantize", default="none", choices=MODES, help="how numbers are stored; int8 is integers alone")
    add("--io-dtype", choices=IO_DTYPES, help="input and output of int8 (int8 if not given) and int16x8 (float32)")
    add("--output", help="folder for the files; by default tflite/ beside the model")
    add("--dataset", help="data for calibration and verification; by default the run's own")
    add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
    add("--manual-dir", help="where archives lie that were downloaded by hand")
    add(
        "--calibration-images",
        type=positive_integer,
        default=200,
        help="training images for integers' ranges",
    )
    add("--verification-images", type=positive_integer, default=1000, help="held-out images to verify on, at most")
    return parser


def main(arguments):
    """Exports what `arguments` ask for."""
    path = model_path(arguments)
    # A loss or metric of the user's own is not at hand here.
    model = load_network(path, compile=False)
    depths = chosen_depths(model, arguments.depth)
    check_settings(arguments)
    images = load_images(arguments, path, model.input_shape[1:], num_classes(model))
    held_out, labels = images.test_sample(min(arguments.verification_images, images.num_test))
    calibration_images = None
    if MODES[arguments.quantize].needs_calibration:
        calibration_images = images.calibration_images(min(arguments.calibration_images, images.num_train))
    output = pathlib.Path(arguments.output or path.parent / "tflite")
    table = result_table()
    for name, signatures in files(depths, arguments).items():
        file = output / name
        verifications = export_subnets(
            {signature: model.subnet(depth) for signature, depth in signatures.items()},
            file,
            quantize=arguments.quantize,
            calibration_images=calibration_images,
            io_dtype=arguments.io_dtype,
            images=held_out,
            labels=labels,
            facts={
                "depths": {
                    signature: {"depth": depth, "blocks_per_stage": model.depths[depth]}
                    for signature, depth in signatures.items()
                },
                "labels": images.class_names,
                "crop_pct": images.crop_pct,
                "source": "/".join(pathlib.Path(os.path.abspath(path)).parts[-2:]),
            },
        )
        print(f"Verified: {file}")
        for signature, verification in verifications.items():
            table.add_row(str(signatures[signature]), *figures(verification))
    Console().print(table)
    if images.image_shape[-1] in PICTURE_CHANNELS:
        sample = write_sample(held_out[0], images.class_names[labels[0]], output)
        print(f"Next: python export/run_tflite.py {shlex.quote(str(file))} {shlex.quote(str(sample))}")


def model_path(arguments):
    """The model to export: the one asked for, or the newest run's."""
    if arguments.model:
        return pathlib.Path(arguments.model)
    path = RunDirectory.newest().model
    print(f"Model: {path} (the newest run)")
    return path


def chosen_depths(model, wanted):
    """The depths to export."""
    depths = [depth for depth in model.depths if wanted in ("all", str(depth))]
    if not depths:
        allowed = ", ".join(map(str, model.depths))
        raise ValueError(f"--depth must be all or one of {allowed}, which the network holds. Received: {wanted}")
    return depths


def check_settings(arguments):
    """Tells of settings that do not go together, before anything takes time."""
    if arguments.bundle and arguments.depth != "all":
        raise ValueError(f"--bundle must go with --depth all. Received: --depth {arguments.depth}")
    allowed = MODES[arguments.quantize].io_dtypes
    if arguments.io_dtype not in (None, *allowed):
        raise ValueError(
            f"--io-dtype must be {' or '.join(allowed)} with --quantize {arguments.quantize}. "
            f"Received: {arguments.io_dtype}"
        )


def num_classes(model):
    """How many classes a network tells apart."""
    return model.subnet(next(iter(model.depths))).output_shape[-1]


def load_images(arguments, path, image_shape, num_classes):
    """The data set that the network was trained on, or the one asked for, as the network takes it."""
    chosen = data_arguments(arguments, path)
    images = data.load(**chosen)
    if images.image_shape != image_shape and image_shape[0] == image_shape[1]:
        images = data.load(**{**chosen, "image_size": image_shape[0]})
    if (images.image_shape, images.num_classes) != (image_shape, num_classes):
        raise ValueError(
            f"--dataset must have images {image_shape} of {num_classes} classes, as the network takes. "
            f"Received: {chosen['name']}, {images.image_shape} of {images.num_classes} classes"
        )
    if not arguments.dataset:
        check_run(RunDirectory(path.parent), images)
    return images


def data_arguments(arguments, path):
    """What `data.load` needs: from the command line, and for the rest from the run that the model lies in."""
    given = {name: getattr(arguments, name) for name in ("data_dir", "manual_dir")}
    run_directory = RunDirectory(path.parent)
    if not run_directory.config.is_file():
        if not arguments.dataset:
            raise ValueError(f"--dataset must be given: {path} lies in no run directory that tells its data.")
        return {"name": arguments.dataset, **given}
    saved = run_directory.read_config()["arguments"]
    # The seed settles which images were held out for validation.
    if arguments.dataset:
        return {"name": arguments.dataset, "seed": saved["seed"], **given}
    return {
        "name": saved["dataset"],
        **{name: saved.get(name) for name in ("image_size", "train_images", "seed")},
        **{name: value or saved[name] for name, value in given.items()},
    }


def files(depths, arguments):
    """Which depths go into which file: a dict from names such as depth_18_int8.tflite to dicts from signatures."""
    suffix = "".join(f"_{part}" for part in (arguments.quantize, arguments.io_dtype) if part not in (None, "none"))
    if arguments.bundle:
        return {f"bundle{suffix}.tflite": {output_key(depth): depth for depth in depths}}
    return {f"{output_key(depth)}{suffix}.tflite": {DEFAULT_SIGNATURE: depth} for depth in depths}


def write_sample(image, label, folder):
    """Writes a held-out image to try the files on; its name tells what it shows."""
    path = folder / f"sample_{re.sub(r'[^A-Za-z0-9]+', '-', label)[:LONGEST_NAME]}.png"
    with atomic_write(path) as temporary:
        keras.utils.save_img(temporary, np.rint(image), scale=False)
    return path


def result_table():
    """The results, for people: `figures` fill all but the first column."""
    return Table("depth", "MB", "p90 |Δ logit|", "same class", "accuracy", "Keras accuracy", "ms per image")


def figures(verification):
    """What a row of the table shows of a verification."""
    return (
        f"{verification.size_bytes / 1e6:.2f}",
        f"{verification.p90_abs_error:.1e}",
        f"{verification.argmax_agreement:.2%}",
        f"{verification.accuracy:.2%}",
        f"{verification.keras_accuracy:.2%}",
        f"{verification.milliseconds_per_image:.2f}",
    )


if __name__ == "__main__":
    run(main, argument_parser())
