"""Fine-tunes one sub-net with TensorFlow Model Optimization: quantization-aware, pruned, clustered, or in turns.

For example:

    python recipes/finetune_tfmot.py --depth 18 --technique prune             # of the newest run
    python recipes/finetune_tfmot.py --depth 18 --technique prune_cluster_qat --run runs/digits_...

The sub-net becomes a network of its own, taught by the full-net while it is fine-tuned, and one verified .tflite file.
For all depths in one file, see finetune_qat.py. A process of its own, since the toolkit changes Keras for all of it.
"""

import argparse
import functools
import gzip
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from ddnn_keras.command_line import ArgumentParser, non_negative_number, positive_integer, run
from ddnn_keras.depths import output_key
from ddnn_keras.distillation import EKD, kl_divergence
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.earlier_runs import finished_run, images_of_run
from ddnn_keras.runtime.metadata import DEFAULT_SIGNATURE
from ddnn_keras.tflite.convert import check_backend
from ddnn_keras.tflite.export import export_subnets
from ddnn_keras.tflite.modes import MODES
from ddnn_keras.tflite.verify import VerificationError

try:
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    # The public `cluster_weights` cannot keep the zeros that pruning made.
    from tensorflow_model_optimization.python.core.clustering.keras.experimental.cluster import cluster_weights

    from ddnn_keras.network.legacy_keras import as_subnet, take_weights, to_tf_keras
except ModuleNotFoundError as error:
    ArgumentParser(__doc__).error(f'needs {error.name}: pip install "ddnn_keras[tensorflow,optimization]"')

TECHNIQUES = ["qat", "prune", "cluster", "prune_qat", "cluster_qat", "prune_cluster", "prune_cluster_qat"]
CALIBRATION_IMAGES, VERIFICATION_IMAGES = 200, 1000


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--depth", required=True, help="a depth of the network")
    add("--technique", required=True, choices=TECHNIQUES, help="what is done, in this order")
    add("--run", help="the directory of a finished run; by default the newest in runs/")
    add("--epochs", type=positive_integer, default=5, help="passes over the training images, for each step")
    add("--learning-rate", type=non_negative_number, default=1e-4, help="of Adam, constant")
    add("--kl-weight", type=non_negative_number, default=EKD().kl_weight, help="of the full-net's teaching")
    add("--sparsity", type=fraction, default=0.5, help="the part of the weights that pruning sets to zero")
    add(
        "--clusters",
        type=two_or_more,
        default=16,
        help="to how many values, at most, clustering leaves a layer's weights",
    )
    add("--quantize", default="int8", choices=MODES, help="how the file stores numbers; after qat int8")
    add("--output", help="folder for the file; by default tflite/ in the run")
    return parser


def two_or_more(text):
    """The type of an argument that counts clusters."""
    if (number := positive_integer(text)) < 2:
        raise argparse.ArgumentTypeError(f"{text} is less than 2")
    return number


def fraction(text):
    """The type of an argument from 0 to less than 1."""
    number = non_negative_number(text)
    if number >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not less than 1")
    return number


def main(arguments):
    """Fine-tunes, exports, and compares with the sub-net as it was."""
    steps = arguments.technique.split("_")
    check_steps(steps, arguments)
    check_backend()
    run_directory, saved = finished_run(arguments.run)
    network = load_network(run_directory.model)
    depth = chosen_depth(network, arguments.depth)
    subnet, full_net = network.subnet(depth), network.subnet(list(network.depths)[-1])
    model = to_tf_keras(subnet)
    images = images_of_run(run_directory, saved)
    facts = {
        "depths": {DEFAULT_SIGNATURE: {"depth": depth, "blocks_per_stage": network.depths[depth]}},
        "labels": images.class_names,
        "crop_pct": images.crop_pct,
        "source": f"{run_directory.path.resolve().name}/{run_directory.model.name}",
        # Where things are on this machine is nobody else's business.
        "fine_tuning": {name: value for name, value in vars(arguments).items() if name not in ("run", "output")},
    }
    # First, since `finished` changes the sub-net's own weights.
    as_trained = exported_as_trained(subnet, images, arguments.quantize, facts)
    model = fine_tuned(model, full_net, steps, arguments, images, saved)
    name = "_".join([output_key(depth), *steps, *([arguments.quantize] if arguments.quantize != "none" else [])])
    path = pathlib.Path(arguments.output or run_directory.path / "tflite") / f"{name}.tflite"
    result = exported(finished(model, subnet, steps), path, images, arguments.quantize, facts)
    print(f"Verified: {path}")
    print_table({"as trained": as_trained, arguments.technique: result})


def check_steps(steps, arguments):
    """Raises a `ValueError` where an argument does not go with the technique."""
    if "qat" in steps and arguments.quantize != "int8":
        raise ValueError(f"--quantize must be int8 with qat. Received: {arguments.quantize}")
    if {"prune", "cluster"} <= set(steps) and arguments.clusters < 3:
        raise ValueError(
            f"--clusters must be 3 or more with prune, whose zeros are one. Received: {arguments.clusters}"
        )


def chosen_depth(network, wanted):
    """The depth of that name."""
    depths = {str(depth): depth for depth in network.depths}
    if wanted not in depths:
        raise ValueError(f"--depth must be one of {', '.join(depths)}, which the network holds. Received: {wanted}")
    return depths[wanted]


def fine_tuned(model, full_net, steps, arguments, images, saved):
    """The tf_keras model after all steps."""
    keras.utils.set_random_seed(saved.seed)
    lessons = taught(images.train(saved.batch_size, seed=saved.seed), full_net)
    steps_per_epoch = images.steps_per_epoch(saved.batch_size)
    for index, step in enumerate(steps):
        model, strip, callbacks = STEPS[step](model, arguments, steps[:index], arguments.epochs * steps_per_epoch)
        fit(model, lessons, arguments, steps_per_epoch, callbacks)
        model = strip(model)
    return model


# The steps. Each takes a tf_keras model, the command line, the steps before and the number of updates, and gives the
# model to train, what takes its wrappers off afterwards, and the callbacks that the training needs.


def prune(model, arguments, before, num_updates):
    """Sets ever more of the smallest weights to zero, during the first half of the updates."""
    keras_tools = tfmot.sparsity.keras
    half = max(1, num_updates // 2)
    schedule = keras_tools.PolynomialDecay(0.0, arguments.sparsity, 0, half, frequency=max(1, half // 10))
    wrapper = functools.partial(keras_tools.prune_low_magnitude, pruning_schedule=schedule)
    return wrapped(model, wrapper), keras_tools.strip_pruning, [keras_tools.UpdatePruningStep()]


def cluster(model, arguments, before, num_updates):
    """Lets the weights of a layer take few values."""
    keep_zeros = "prune" in before

    def wrapper(layer):
        # The toolkit wants as many weights as clusters, or as many but zeros as other clusters.
        num_weights = np.count_nonzero(layer.kernel) + 1 if keep_zeros else np.size(layer.kernel)
        if num_weights < 3:
            raise ValueError(
                f"--sparsity must leave two weights or more to {layer.name}. Received: {arguments.sparsity}"
            )
        clusters = min(arguments.clusters, int(num_weights))
        return cluster_weights(layer, number_of_clusters=clusters, preserve_sparsity=keep_zeros)

    return wrapped(model, wrapper), tfmot.clustering.keras.strip_clustering, []


def quantize(model, arguments, before, num_updates):
    """Rounds weights and activations, and keeps zeros and clusters."""
    combine, keras_tools = tfmot.experimental.combine, tfmot.quantization.keras
    annotated = keras_tools.quantize_annotate_model(model)
    if "cluster" in before:
        scheme = combine.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity="prune" in before)
        return keras_tools.quantize_apply(annotated, scheme), combine.strip_clustering_cqat, []
    scheme = [combine.Default8BitPrunePreserveQuantizeScheme()] if "prune" in before else []
    return keras_tools.quantize_apply(annotated, *scheme), lambda model: model, []


STEPS = {"prune": prune, "cluster": cluster, "qat": quantize}


def wrapped(model, wrapper):
    """The model with its convolutions and dense layers in a wrapper."""
    # Not the depthwise ones, which hold few weights; one of them holds the pixels' mean.
    kinds = (tf_keras.layers.Conv2D, tf_keras.layers.Dense)
    return tf_keras.models.clone_model(
        model, clone_function=lambda layer: wrapper(layer) if type(layer) in kinds else layer
    )


def taught(batches, full_net):
    """Batches of images with what to learn of them: the label, and behind it the full-net's logits."""

    def lesson(images, labels):
        logits = full_net(images, training=False)
        return images, tf.concat([tf.cast(labels, logits.dtype)[:, tf.newaxis], logits], axis=-1)

    return batches.map(lesson)


def fit(model, lessons, arguments, steps_per_epoch, callbacks):
    """Trains a tf_keras model on labels and on the full-net's probabilities."""
    cross_entropy = functools.partial(tf_keras.losses.sparse_categorical_crossentropy, from_logits=True)

    def loss(lesson, logits):
        labels, teacher = lesson[:, 0], lesson[:, 1:]
        return cross_entropy(labels, logits) + arguments.kl_weight * kl_divergence(teacher, logits)

    def accuracy(lesson, logits):
        return tf_keras.metrics.sparse_categorical_accuracy(lesson[:, 0], logits)

    model.compile(tf_keras.optimizers.Adam(arguments.learning_rate), loss, metrics=[accuracy])
    history = model.fit(
        lessons, epochs=arguments.epochs, steps_per_epoch=steps_per_epoch, callbacks=callbacks, shuffle=False, verbose=2
    )
    if not np.isfinite(history.history["loss"]).all():
        raise ValueError("The loss is not finite any more. A smaller --learning-rate may help.")


def finished(model, subnet, steps):
    """The fine-tuned model as a sub-net that can be exported."""
    if "qat" in steps:
        return as_subnet(model)  # with the ranges that it learned
    take_weights(subnet, model)
    return subnet


def exported_as_trained(subnet, images, quantize, facts):
    """`exported` of the sub-net as it is, or `None` where its file fails: to mend that may be why it is fine-tuned."""
    with tempfile.TemporaryDirectory() as folder:  # to_tflite.py makes this file
        try:
            return exported(subnet, pathlib.Path(folder) / "as_trained.tflite", images, quantize, facts)
        except VerificationError as error:
            print(f"As trained, the file is refused: {error}")
            return None


def exported(subnet, path, images, quantize, facts):
    """Writes a verified file; its `Verification`, and its size compressed by gzip."""
    held_out, labels = images.test_sample(min(VERIFICATION_IMAGES, images.num_test))
    calibration_images = images.calibration_images(min(CALIBRATION_IMAGES, images.num_train))
    held = {"calibration_images": calibration_images, "images": held_out, "labels": labels}
    verifications = export_subnets(subnet, path, quantize=quantize, **held, facts=facts)
    return verifications[DEFAULT_SIGNATURE], len(gzip.compress(path.read_bytes()))


def print_table(results):
    """The results, for people."""
    table = Table("", "MB", "MB gzipped", "same class", "accuracy of the file", "of the Keras model")
    for name, result in results.items():
        if result is None:
            table.add_row(name, "refused")
            continue
        found, compressed = result
        table.add_row(
            name,
            f"{found.size_bytes / 1e6:.3f}",
            f"{compressed / 1e6:.3f}",
            f"{found.argmax_agreement:.2%}",
            f"{found.accuracy:.2%}",
            f"{found.keras_accuracy:.2%}",
        )
    Console().print(table)


if __name__ == "__main__":
    run(main, argument_parser())
