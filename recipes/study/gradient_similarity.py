"""Shows what depths want of the weights that all of them share: each loss's gradient beside the full-net's.

For example:

    python recipes/study/gradient_similarity.py runs/ekd

The columns are about the mean gradient over training images, for all shared weights together:

- size: the gradient's norm, relative to that of the full-net's cross-entropy;
- cosine: its cosine similarity with the latter. Below 0 they conflict (https://arxiv.org/abs/2001.06782).

The weights are those that training ended with. KL has a weight and temperature of 1 and the full-net as its teacher,
however the run was trained. Needs the TensorFlow backend.
"""

import itertools

import numpy as np

from ddnn_keras.command_line import ArgumentParser, positive_integer, print_table, run
from ddnn_keras.runs.run_directory import RunDirectory

BATCH = 100

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("run", metavar="RUN", help="run directory of train.py, with two depths or more")
add("--batches", type=positive_integer, default=50, help=f"of {BATCH} training images each")


def main(arguments):
    """Prints the table."""
    import keras

    from ddnn_keras.runs.checkpoint import load_network
    from ddnn_keras.runs.earlier_runs import images_of_runs

    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"Needs KERAS_BACKEND=tensorflow. Received: {keras.backend.backend()}")
    directory = RunDirectory(arguments.run)
    images = images_of_runs([directory])
    model = load_network(directory.model)
    batches = itertools.islice(images.train(min(BATCH, images.num_train)), arguments.batches)
    rows = similarity(mean_gradients(model, batches))
    cells = [
        [key.removeprefix("depth_"), loss, f"{size:.2f}", f"{cosine:+.2f}"]
        for (key, loss), (size, cosine) in rows.items()
    ]
    print_table(["depth", "loss", "size", "cosine"], cells)


def mean_gradients(model, batches):
    """The gradients for the weights that all depths share, summed over batches: a dict from key and loss to vectors."""
    import tensorflow as tf

    total = {}
    for images, labels in batches:
        with tf.GradientTape(persistent=True) as tape:
            losses = losses_of_depths(model(images, training=True), model.output_keys, labels)
        of_losses = {name: tape.gradient(loss, model.trainable_variables) for name, loss in losses.items()}
        shared = [all(gradient is not None for gradient in gradients) for gradients in zip(*of_losses.values())]
        for name, gradients in of_losses.items():
            flat = [np.ravel(gradient) for gradient in itertools.compress(gradients, shared)]
            total[name] = total.get(name, 0) + np.concatenate(flat, dtype="float64")
    return total


def losses_of_depths(logits, keys, labels):
    """A dict from pairs of output key and loss to scalars: the students' first."""
    from keras import losses, ops

    from ddnn_keras.distillation import kl_divergence

    def cross_entropy(key):
        return ops.mean(losses.sparse_categorical_crossentropy(labels, logits[key], from_logits=True))

    *students, full_net = keys
    found = {}
    for key in students:
        found[key, "cross-entropy"] = cross_entropy(key)
        found[key, "KL"] = ops.mean(kl_divergence(logits[full_net], logits[key]))
    return {**found, (full_net, "cross-entropy"): cross_entropy(full_net)}


def similarity(gradients):
    """Each gradient's size relative to the last one's, and its cosine similarity with it."""
    *_, full_net = gradients.values()
    sizes = {name: np.linalg.norm(gradient) / np.linalg.norm(full_net) for name, gradient in gradients.items()}
    return {
        name: (sizes[name], gradient @ full_net / (full_net @ full_net * sizes[name]))
        for name, gradient in gradients.items()
    }


if __name__ == "__main__":
    run(main, parser)
