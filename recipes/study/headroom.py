"""Shows what a full-net has to teach: where it knows better, and what its probabilities say beyond the labels.

For example, of one network, and of three that were trained alone:

    python recipes/study/headroom.py runs/ekd
    python recipes/study/headroom.py runs/alone_8 runs/alone_14 runs/alone_20

- trained: the accuracy on an epoch of training images, varied as in training;
- entropy: of the class probabilities of these, the mean in nats. A teacher's near 0 says no more than the labels;
- KL: the divergence from the full-net's probabilities, in nats, which distillation by KL makes smaller;
- validation: the accuracy on validation images;
- better: the share of these on which the full-net is right and this depth wrong;
- worse: the share on which it is the other way round.

The last row is the mean of all depths' logits, EKD's other teacher.
"""

import itertools

import numpy as np

from ddnn_keras.command_line import ArgumentParser, print_table, run
from ddnn_keras.depths import output_key
from ddnn_keras.runs.run_directory import RunDirectory

BATCH = 100

COLUMNS = {"trained": ".2%", "entropy": ".4f", "KL": ".4f", "validation": ".2%", "better": ".2%", "worse": ".2%"}

parser = ArgumentParser(__doc__)
parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories of train.py, which make up one set")


def main(arguments):
    """Prints the table."""
    from ddnn_keras.runs.checkpoint import load_network
    from ddnn_keras.runs.earlier_runs import images_of_runs

    runs = [RunDirectory(path) for path in arguments.runs]
    images = images_of_runs(runs)
    networks = [load_network(run.model) for run in runs]
    batch = min(BATCH, images.num_train)
    training = itertools.islice(images.train(batch), images.steps_per_epoch(batch))
    rows = headroom(predicted(networks, training), predicted(networks, images.validation(batch)))
    cells = [
        [key.removeprefix("depth_"), *(format(row[name], form) for name, form in COLUMNS.items())]
        for key, row in rows.items()
    ]
    print_table(["depth", *COLUMNS], cells)


def predicted(networks, batches):
    """The labels, behind a dict of every depth's logits, the shallowest first, and their mean."""
    from keras import ops

    depths = sorted((blocks, output_key(depth)) for network in networks for depth, blocks in network.depths.items())
    keys = [key for _, key in depths]
    if len(set(keys)) < len(keys):
        raise ValueError("RUN must be runs of different depths.")
    logits, labels = {key: [] for key in keys}, []
    for images, of_images in batches:
        for network in networks:
            for key, values in network.predict_on_batch(images).items():
                logits[key].append(values)
        labels.append(ops.convert_to_numpy(of_images))
    logits = {key: np.concatenate(values).astype("float64") for key, values in logits.items()}
    return {**logits, "mean of all": np.mean(list(logits.values()), axis=0)}, np.concatenate(labels)


def headroom(training, validation):
    """What the table shows."""
    from scipy.special import entr, rel_entr, softmax

    (logits, labels), (held_out, labels_held_out) = training, validation
    *_, full_net, _ = logits
    teacher = softmax(logits[full_net], axis=-1)
    teacher_is_right = held_out[full_net].argmax(-1) == labels_held_out
    rows = {}
    for key in logits:
        probabilities = softmax(logits[key], axis=-1)
        is_right = held_out[key].argmax(-1) == labels_held_out
        rows[key] = {
            "trained": np.mean(logits[key].argmax(-1) == labels),
            "entropy": np.mean(entr(probabilities).sum(-1)),
            "KL": np.mean(rel_entr(teacher, probabilities).sum(-1)),
            "validation": np.mean(is_right),
            "better": np.mean(teacher_is_right & ~is_right),
            "worse": np.mean(is_right & ~teacher_is_right),
        }
    return rows


if __name__ == "__main__":
    run(main, parser)
