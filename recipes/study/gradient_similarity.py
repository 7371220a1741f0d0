"""Shows what depths want of the weights that all of them share: each loss's gradient beside the full-net's.

For example:

    python recipes/study/gradient_similarity.py runs/ekd

The columns, of the mean gradient over training images, varied as in training, for all shared weights together:

- size: the gradient's norm, relative to that of the full-net's cross-entropy;
- cosine: its cosine similarity with the latter; 1 where both want the same, 0 where neither helps nor hurts the other,
  less where they conflict (https://arxiv.org/abs/2001.06782).

The gradients are those at the weights that training ended with; KL's has a weight and temperature of 1 and the full-net
as its teacher, however the run was trained. Needs the TensorFlow backend.
"""

import itertools
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from ddnn_keras.command_line import ArgumentParser, positive_integer, run
from ddnn_keras.distillation import kl_divergence
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runs.earlier_runs import images_of_runs
from ddnn_keras.runs.run_directory import RunDirectory

BATCH = 100


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("run", metavar="RUN", help="run directory of train.py, with two depths or more")
    add("--batches", type=positive_integer, default=50, help=f"of {BATCH} training images each")
    return parser


def main(arguments):
    """Prints the table."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"Needs KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}")
    directory = RunDirectory(arguments.run)
    images = images_of_runs([directory])
    model = load_network(directory.model)
    if len(model.depths) < 2:
        raise ValueError(f"RUN must have two depths or more. Received: {arguments.run} with {len(model.depths)}")
    batches = itertools.islice(images.train(min(BATCH, images.num_train)), arguments.batches)
    print_table(similarity(mean_gradients(model, batches)))


def mean_gradients(model, batches):
    """The gradients of all depths' losses for the weights that all depths share.

    Args:
        model: A `DDNN` on the TensorFlow backend.
        batches: An iterable of images and integer labels.

    Returns:
        A dict from pairs of output key and loss, the full-net's cross-entropy last, to vectors.
    """
    import tensorflow as tf  # may be missing where another backend is used

    total = {}
    for images, labels in batches:
        with tf.GradientTape(persistent=True) as tape:
            losses = losses_of_depths(model(images, training=True), model.output_keys, labels)
        of_losses = {name: tape.gradient(loss, model.trainable_variables) for name, loss in losses.items()}
        shared = [all(gradient is not None for gradient in gradients) for gradients in zip(*of_losses.values())]
        for name, gradients in of_losses.items():
            flat = [np.ravel(gradient) for gradient in itertools.compress(gradients, shared)]
            total[name] = total.get(name, 0) + np.concatenate(flat, dtype="float64")
    # The number of batches does not matter to what is shown.
    return total


def losses_of_depths(logits, keys, labels):
    """A dict from pairs of output key and loss to scalars: the students' first."""
    *students, full_net = keys
    losses = {}
    for key in students:
        losses[key, "cross-entropy"] = cross_entropy(labels, logits[key])
        losses[key, "KL"] = keras.ops.mean(kl_divergence(logits[full_net], logits[key]))
    return {**losses, (full_net, "cross-entropy"): cross_entropy(labels, logits[full_net])}


def cross_entropy(labels, logits):
    """The mean over a batch."""
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def similarity(gradients):
    """Each gradient's size relative to the last one's, and its cosine similarity with it.

    Args:
        gradients: A dict of vectors.

    Returns:
        A dict with the same keys, of pairs of floats.
    """
    *_, full_net = gradients.values()
    norm = np.linalg.norm(full_net)
    return {
        name: (np.linalg.norm(gradient) / norm, gradient @ full_net / (np.linalg.norm(gradient) * norm))
        for name, gradient in gradients.items()
    }


def print_table(rows):
    """The rows, for people."""
    table = Table("depth", "loss", "size", "cosine", box=None, padding=(0, 1, 0, 0))
    for (key, loss), (size, cosine) in rows.items():
        table.add_row(key.removeprefix("depth_"), loss, f"{size:.2f}", f"{cosine:+.2f}")
    Console().print(table)


if __name__ == "__main__":
    run(main, argument_parser())
