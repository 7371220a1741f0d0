"""Fine-tunes one sub-net with TensorFlow Model Optimization: pruned, clustered, or both.

For example:

    python recipes/finetune_tfmot.py --depth 18 --technique prune             # of the newest run
    python recipes/finetune_tfmot.py --depth 18 --technique prune_cluster --run runs/digits_...

The sub-net becomes a network of its own, taught by the full-net while it is fine-tuned, and one verified .tflite file.
to_tflite.py makes the file without fine-tuning, finetune_qat.py one of all depths. The toolkit changes Keras for its
whole process.
"""

import argparse
import gzip
import pathlib

from ddnn_keras.command_line import ArgumentParser, non_negative_number, positive_integer, print_table, run
from ddnn_keras.depths import output_key
from ddnn_keras.runs.arguments import add_flags, load_images
from ddnn_keras.runs.earlier_runs import finished_run
from ddnn_keras.runs.run_directory import check_run
from ddnn_keras.tflite.modes import MODES

TECHNIQUES = ["prune", "cluster", "prune_cluster"]
CALIBRATION_IMAGES, VERIFICATION_IMAGES = 200, 1000

parser = ArgumentParser(__doc__)
add = parser.add_argument
add_flags(parser, ["kl_weight"])
add("--depth", required=True, help="a depth of the network")
add("--technique", required=True, choices=TECHNIQUES, help="what is done, in this order")
add("--run", help="the directory of a finished run; by default the newest in runs/")
add("--epochs", type=positive_integer, default=5, help="passes over the training images, for each step")
add("--learning-rate", type=non_negative_number, default=1e-4, help="of Adam, constant")
add("--sparsity", type=non_negative_number, default=0.5, help="the part of the weights that pruning sets to zero")
add("--clusters", type=positive_integer, default=16, help="how many values clustering leaves a layer, at most")
add("--quantize", default="int8", choices=MODES, help="how the file stores numbers")
add("--output", help="folder for the file; by default tflite/ in the run")


def main(arguments):
    steps = arguments.technique.split("_")
    check_steps(steps, arguments)
    run_directory, saved = finished_run(arguments.run)
    # Here, because these imports take seconds, and the last one changes Keras.
    try:
        from ddnn_keras.runs.checkpoint import load_network
        from ddnn_keras.runs.finetuning import class_weights
        from ddnn_keras.tflite.convert import check_backend

        check_backend()
        network = load_network(run_directory.model)
        depth = chosen_depth(network, arguments.depth)
        from ddnn_keras.tflite.model_optimization import fine_tuned
    except ModuleNotFoundError as error:
        raise ValueError(f'needs {error.name}: pip install "ddnn_keras[tensorflow,recipes,optimization]"') from error
    subnet, full_net = network.subnet(depth), network.subnet(list(network.depths)[-1])
    images = load_images(saved)
    check_run(run_directory, images)
    # As the run was trained: finetune.py lets all classes count the same.
    weights = class_weights(images) if hasattr(saved, "start") else [1.0] * images.num_classes
    settings = {"batch_size": saved.batch_size, "seed": saved.seed, "class_weights": weights, **vars(arguments)}
    facts = {
        "depths": {"serving_default": {"depth": depth, "blocks_per_stage": network.depths[depth]}},
        "labels": images.class_names,
        "crop_pct": images.crop_pct,
        "source": f"{run_directory.path.resolve().name}/{run_directory.model.name}",
        # Where things are on this machine is nobody else's business.
        "fine_tuning": {name: value for name, value in vars(arguments).items() if name not in ("run", "output")},
    }
    fine_tuned(subnet, full_net, steps, images, argparse.Namespace(**settings))
    name = "_".join([output_key(depth), *steps, *([arguments.quantize] if arguments.quantize != "none" else [])])
    path = pathlib.Path(arguments.output or run_directory.path / "tflite") / f"{name}.tflite"
    figures = exported(subnet, path, images, arguments.quantize, facts)
    print(f"Verified: {path}")
    headers = ["technique", "MB", "MB gzipped", "same class", "accuracy of the file", "of the Keras model"]
    print_table(headers, [[arguments.technique, *figures]])


def check_steps(steps, arguments):
    """Raises a `ValueError` where an argument does not go with the technique."""
    if arguments.sparsity >= 1:
        raise ValueError(f"--sparsity must be less than 1. Received: {arguments.sparsity}")
    least = 3 if "prune" in steps else 2  # pruning needs one for zero
    if "cluster" in steps and arguments.clusters < least:
        raise ValueError(
            f"--clusters must be {least} or more with {arguments.technique}. Received: {arguments.clusters}"
        )


def chosen_depth(network, wanted):
    """The depth of that name."""
    depths = {str(depth): depth for depth in network.depths}
    if wanted not in depths:
        raise ValueError(f"--depth must be one of {', '.join(depths)}, which the network holds. Received: {wanted}")
    return depths[wanted]


def exported(subnet, path, images, quantize, facts):
    """Writes a verified file, and gives its figures for the table."""
    from ddnn_keras.tflite.export import export_subnets

    held_out, labels = images.test_sample(min(VERIFICATION_IMAGES, images.num_test))
    calibration_images = images.calibration_images(min(CALIBRATION_IMAGES, images.num_train))
    held = {"calibration_images": calibration_images, "images": held_out, "labels": labels}
    (found,) = export_subnets(subnet, path, quantize=quantize, **held, facts=facts).values()
    sizes = [f"{size / 1e6:.3f}" for size in (found.size_bytes, len(gzip.compress(path.read_bytes())))]
    return [*sizes, *(f"{part:.2%}" for part in (found.argmax_agreement, found.accuracy, found.keras_accuracy))]


if __name__ == "__main__":
    run(main, parser)
