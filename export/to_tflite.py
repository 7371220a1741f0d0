"""Exports sub-nets of a trained network to TFLite, each file verified against its Keras model.

python export/to_tflite.py --depth 18
python export/to_tflite.py --depth all --quantize int8 --model runs/digits_.../model.keras
"""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from ddnn_keras import data
from ddnn_keras.checkpoint import load_network
from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.depths import output_key
from ddnn_keras.run_directory import RunDirectory
from ddnn_keras.tflite.export import export_subnet
from ddnn_keras.tflite.modes import MODES


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--depth", required=True, help="a depth of the network, or all")
    add("--model", help="a .keras file; by default that of the newest run in runs/")
    add("--quantize", default="none", choices=MODES, help="how numbers are stored; int8 is integers alone")
    add("--output", help="folder for the files; by default tflite/ beside the model")
    add("--dataset", help="data for calibration and verification; by default the run's own")
    add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
    add("--manual-dir", help="where archives lie that were downloaded by hand")
    add("--calibration-images", type=positive_integer, default=200, help="training images that give int8 its ranges")
    add("--verification-images", type=positive_integer, default=1000, help="held-out images to verify on, at most")
    return parser


def main(arguments):
    """Exports what `arguments` ask for."""
    path = model_path(arguments)
    model = load_network(path)
    depths = chosen_depths(model, arguments.depth)
    images = load_images(arguments, path, model)
    held_out, labels = first_images(images.test(batch_size=100), arguments.verification_images)
    output = pathlib.Path(arguments.output or path.parent / "tflite")
    verifications = {}
    for depth in depths:
        file = output / file_name(depth, arguments.quantize)
        verifications[file] = export_subnet(
            model.subnet(depth),
            file,
            quantize=arguments.quantize,
            calibration_images=images.calibration_images(arguments.calibration_images),
            images=held_out,
            labels=labels,
            facts={
                "depth": depth,
                "blocks_per_stage": model.depths[depth],
                "labels": images.class_names,
                "source": f"{path.parent.name}/{path.name}",
            },
        )
        print(f"Verified: {file}")
    print_table(arguments.quantize, dict(zip(depths, verifications.values())))
    sample = write_sample(held_out[0], images.class_names[labels[0]], output)
    print(f"Next: python export/run_tflite.py {file} {sample}")


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


def load_images(arguments, path, model):
    """The data set that the network was trained on, or the one asked for."""
    chosen = {"name": arguments.dataset, "data_dir": arguments.data_dir, "manual_dir": arguments.manual_dir}
    if not arguments.dataset:
        run_directory = RunDirectory(path.parent)
        if not run_directory.config.is_file():
            raise ValueError(f"--dataset must be given: {path} lies in no run directory that tells its data.")
        saved = run_directory.read_config()["arguments"]
        # The seed settles which images were held out for validation.
        chosen = {
            "name": saved["dataset"],
            "data_dir": arguments.data_dir or saved["data_dir"],
            "manual_dir": arguments.manual_dir or saved["manual_dir"],
            "seed": saved["seed"],
        }
    images = data.load(**chosen, image_size=model.input_shape[1])
    if (
        images.image_shape != model.input_shape[1:]
        or images.num_classes != model.subnet(next(iter(model.depths))).output_shape[-1]
    ):
        raise ValueError(
            f"--dataset must have images and classes as the network: {model.input_shape[1:]}. "
            f"Received: {chosen['name']}, {images.image_shape} and {images.num_classes} classes"
        )
    return images


def first_images(batches, count):
    """The first `count` images and labels of a data set, as arrays."""
    images, labels = zip(*batches.unbatch().take(count).as_numpy_iterator())
    return np.stack(images), np.asarray(labels)


def file_name(depth, quantize):
    """Such as depth_18.tflite or depth_18_int8.tflite."""
    suffix = "" if quantize == "none" else f"_{quantize}"
    return f"{output_key(depth)}{suffix}.tflite"


def write_sample(image, label, folder):
    """Writes a held-out image to try the files on; its name tells what it shows."""
    path = folder / f"sample_{label}.png"
    keras.utils.save_img(path, image, scale=False)
    return path


def print_table(quantize, verifications):
    """The results, for people."""
    table = Table("depth", "mode", "MB", "max |Δ logit|", "same class", "accuracy", "Keras accuracy", "ms per image")
    for depth, verification in verifications.items():
        table.add_row(
            str(depth),
            quantize,
            f"{verification.size_bytes / 1e6:.2f}",
            f"{verification.max_abs_error:.1e}",
            f"{verification.argmax_agreement:.2%}",
            f"{verification.accuracy:.2%}",
            f"{verification.keras_accuracy:.2%}",
            f"{verification.milliseconds_per_image:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    run(main, argument_parser())
