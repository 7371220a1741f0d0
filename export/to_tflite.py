"""Exports sub-nets of a trained network to TFLite, each file verified against its Keras model.

For example:

    python export/to_tflite.py --depth 18
    python export/to_tflite.py --depth all --bundle --quantize int8
    python export/to_tflite.py --depth all --quantize int8 --model runs/digits_.../model.keras
    python export/to_tflite.py --depth all --bundle --quantize int8 --max-drop 0.5
"""

import os
import pathlib
import re
import shlex

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, non_negative_number, positive_integer, print_table, run
from ddnn_keras.depths import output_key
from ddnn_keras.runs.run_directory import RunDirectory
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE
from ddnn_keras.tflite.modes import MODES, mode_named

# A PNG can show grey and colours, and run_tflite.py can read both.
PICTURE_CHANNELS = (1, 3)
LONGEST_NAME = 60  # of a class in a file's name, which may have 255 bytes
IO_DTYPES = sorted({dtype for mode in MODES.values() for dtype in mode.io_dtypes})

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("--depth", required=True, help="a depth of the network, or all")
add("--bundle", action="store_true", help="all depths in one file, a signature for each, weights stored once")
add("--model", help="a .keras file; by default that of the newest run in runs/")
add("--quantize", default="none", choices=MODES, help="how numbers are stored; int8 is integers alone")
add("--io-dtype", choices=IO_DTYPES, help="input and output of int8 (int8 if not given) and int16x8 (float32)")
add("--keep", nargs="+", metavar="LAYER", help="layers of int8 files that compute in float32")
add("--max-drop", type=non_negative_number, help="keeps as few layers as needed to lose at most so many points")
add("--output", help="folder for the files; by default tflite/ beside the model")
add("--dataset", help="data for calibration and verification; by default the run's own")
add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
add("--manual-dir", help="where archives lie that were downloaded by hand")
add("--calibration-images", type=positive_integer, default=200, help="training images for integers' ranges")
add("--verification-images", type=positive_integer, default=1000, help="held-out images to verify on, at most")


def main(arguments):
    if arguments.bundle and arguments.depth != "all":
        raise ValueError(f"--bundle must go with --depth all. Received: --depth {arguments.depth}")
    if arguments.keep and arguments.max_drop is not None:
        raise ValueError("--keep or --max-drop must be given, not both.")
    if arguments.max_drop is not None and arguments.quantize != "int8":
        raise ValueError(f"--max-drop must go with --quantize int8. Received: --quantize {arguments.quantize}")
    if arguments.max_drop is not None and arguments.io_dtype == "uint8":
        raise ValueError("--io-dtype must be int8 or float32 with --max-drop. Received: uint8")
    mode = mode_named(arguments.quantize, arguments.io_dtype, arguments.keep or ())
    path = model_path(arguments)
    from ddnn_keras.runs.checkpoint import load_network
    from ddnn_keras.runs.earlier_runs import images_of_network
    from ddnn_keras.tflite.export import export_subnets

    # Without its loss and metrics, which may be the user's own.
    model = load_network(path, compile=False)
    depths = chosen_depths(model, arguments.depth)
    images = images_of_network(path, arguments, model.input_shape[1:], model.subnet(depths[0]).output_shape[-1])
    held_out, labels = images.test_sample(min(arguments.verification_images, images.num_test))
    calibration_images = None
    if mode.needs_calibration:
        calibration_images = images.calibration_images(min(arguments.calibration_images, images.num_train))
    if arguments.max_drop is not None:
        from ddnn_keras.tflite.mixed_precision import layers_to_keep

        validation = images.validation_sample(min(arguments.verification_images, images.num_validation))
    output = pathlib.Path(arguments.output or path.parent / "tflite")
    rows = []
    for name, signatures in files(depths, arguments.bundle).items():
        subnets = {signature: model.subnet(depth) for signature, depth in signatures.items()}
        keep = arguments.keep or ()
        if arguments.max_drop is not None:
            keep = layers_to_keep(subnets, mode, calibration_images, *validation, arguments.max_drop / 100)
            print(f"Kept in float32 in {name}: {' '.join(keep) or 'no layer'}")
        file = output / f"{name}{suffix(arguments, keep)}.tflite"
        verifications = export_subnets(
            subnets,
            file,
            quantize=arguments.quantize,
            calibration_images=calibration_images,
            io_dtype=arguments.io_dtype,
            keep=keep,
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
            rows.append([signatures[signature], *figures(verification)])
    print_table(["depth", "MB", "p90 |Δ logit|", "same class", "accuracy", "Keras accuracy", "ms per image"], rows)
    if images.image_shape[-1] in PICTURE_CHANNELS:
        sample = write_sample(held_out[0], images.class_names[labels[0]], output)
        print(f"Next: python export/run_tflite.py {shlex.quote(str(file))} {shlex.quote(str(sample))}")


def model_path(arguments):
    """The model to export: the user's choice, or the newest run's. Says so where its run was interrupted."""
    path = pathlib.Path(arguments.model) if arguments.model else RunDirectory.newest().model
    if not arguments.model:
        print(f"Model: {path} (the newest run)")
    run_directory = RunDirectory(path.parent)
    if run_directory.config.is_file() and not run_directory.metrics.is_file():
        print(f"{run_directory.path} is not finished. This is the network of its last epoch: --resume goes on.")
    return path


def chosen_depths(model, wanted):
    """The depths to export."""
    depths = [depth for depth in model.depths if wanted in ("all", str(depth))]
    if not depths:
        allowed = ", ".join(map(str, model.depths))
        raise ValueError(f"--depth must be all or one of {allowed}, which the network holds. Received: {wanted}")
    return depths


def files(depths, bundle):
    """Which depths go into which file: a dict from names such as depth_18 to dicts from signatures."""
    if bundle:
        return {"bundle": {output_key(depth): depth for depth in depths}}
    return {output_key(depth): {DEFAULT_SIGNATURE: depth} for depth in depths}


def suffix(arguments, keep):
    """What a file's name says of its numbers, such as _int8."""
    parts = (arguments.quantize, arguments.io_dtype, "mixed" if keep else None)
    return "".join(f"_{part}" for part in parts if part not in (None, "none"))


def write_sample(image, label, folder):
    """Writes a held-out image to try the files on, with its class in the name."""
    import keras

    path = folder / f"sample_{re.sub(r'[^A-Za-z0-9]+', '-', label)[:LONGEST_NAME]}.png"
    with atomic_write(path) as temporary:
        keras.utils.save_img(temporary, image.round(), scale=False)
    return path


def figures(verification):
    """The cells of the table for a verification."""
    return (
        f"{verification.size_bytes / 1e6:.2f}",
        f"{verification.p90_abs_error:.1e}",
        f"{verification.argmax_agreement:.2%}",
        f"{verification.accuracy:.2%}",
        f"{verification.keras_accuracy:.2%}",
        f"{verification.milliseconds_per_image:.2f}",
    )


if __name__ == "__main__":
    run(main, parser)
