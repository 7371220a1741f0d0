"""Times the training of several depths: each alone, all jointly, and as one would otherwise distil them.

For example:

    python tests/benchmarks/benchmark_training.py --backbone resnet_cifar --depths 8 14 20
    KERAS_BACKEND=jax python tests/benchmarks/benchmark_training.py

Routes to the same networks are compared:

- each alone: the sum of one training for each depth;
- jointly: all depths in one network, cross-entropy only, or with EKD;
- full-net, then Distiller: the full-net alone, then `keras.distillation.Distiller` for each smaller depth.

In each round every training takes some steps, in random order, so that whatever else the machine does meets all of
them. Equal networks of one process can differ by a tenth: repeat the command to see it. Times are relative to the
first route: the median over rounds, and its quartiles. The floor is arithmetic: a step takes the multiply-accumulates
of three forward passes, and a teacher one more. Images are random.
"""

import argparse
import random
import time
import typing

import numpy as np

from ddnn_keras.command_line import ArgumentParser, positive_integer, print_table, run
from ddnn_keras.runs.arguments import add_flags, check_depths


class Training(typing.NamedTuple):
    """A network of some depths that is trained, taught by its own full-net or by a network of the depth `teacher`."""

    depths: tuple
    ekd: bool = False
    teacher: int | None = None


parser = ArgumentParser(__doc__)
add = parser.add_argument
names = ["backbone", "depths", "width", "stem", "image_size", "batch_size", "precision"]
add_flags(parser, names, image_size=32, batch_size=32)
jit = "whether XLA compiles the step; by default with JAX alone, since it is slower on a CPU with TensorFlow"
add("--jit-compile", action=argparse.BooleanOptionalAction, help=jit)
add("--steps", type=positive_integer, default=5, help="timed steps of each training in a round")
add("--rounds", type=positive_integer, default=7, help="how often each takes its turn")


def main(arguments):
    check_depths(arguments)
    trainings, routes = alternatives(arguments.depths)
    seconds = timed(arguments, trainings)
    floors = {name: macs_of(arguments, training) for name, training in trainings.items()}
    rows = []
    for route, names in routes.items():
        taken, first = (sum(seconds[name] for name in some) for some in (names, routes["each alone"]))
        floor, first_floor = (sum(floors[name] for name in some) for some in (names, routes["each alone"]))
        lower, median, upper = np.quantile(taken / first, [0.25, 0.5, 0.75])
        relative = f"{median:.3f} [{lower:.2f}, {upper:.2f}]"
        rows.append([route, f"{1000 * np.median(taken):,.1f}", relative, f"{floor / first_floor:.3f}"])
    print_table(["route", "ms/step", "relative", "floor"], rows)


def alternatives(depths):
    """The trainings by name, and the routes to all depths, lists of such names."""
    *shallow, full_net = depths = tuple(sorted(depths))
    alone = {f"{depth} alone": Training((depth,)) for depth in depths}
    joint = {"jointly, cross-entropy": Training(depths), "jointly, EKD": Training(depths, ekd=True)}
    taught = {f"{depth} with Distiller": Training((depth,), teacher=full_net) for depth in shallow}
    routes = {
        "each alone": list(alone),
        **{name: [name] for name in joint},
        "full-net, then Distiller": [f"{full_net} alone", *taught],
        **{name: [name] for name in [*alone, *taught]},
    }
    return {**alone, **joint, **taught}, routes


def compiled(arguments, training):
    """The model of a training, ready for `fit`."""
    import keras

    from ddnn_keras import EKD

    by_default = keras.backend.backend() == "jax"
    jit_compile = by_default if arguments.jit_compile is None else arguments.jit_compile
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True)
    settings = {"optimizer": optimizer, "metrics": ["accuracy"], "jit_compile": jit_compile}
    model = network(arguments, training.depths)
    if not training.teacher:
        model.compile(**settings, distillation=EKD() if training.ekd else None)
        return model
    distiller = keras.distillation.Distiller(
        network(arguments, (training.teacher,)).subnet(training.teacher),
        model.subnet(*training.depths),
        # An instance: with the default name of the loss, Keras 3.15 applies no softmax.
        keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence()),
    )
    distiller.compile(**settings, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return distiller


def network(arguments, depths):
    """A network of some depths."""
    from ddnn_keras import DDNN

    shape = (arguments.image_size, arguments.image_size, 3)
    settings = {"width": arguments.width, "stem": arguments.stem, "dtype": arguments.precision}
    return DDNN(depths, arguments.backbone, input_shape=shape, **settings)


def macs_of(arguments, training):
    """Multiply-accumulates that a step takes for each image."""
    from ddnn_keras.network.cost import count_macs

    # The output, the gradient for each layer's input and the gradient for its weights. A teacher has its output alone.
    teaching = count_macs(network(arguments, (training.teacher,))) if training.teacher else 0
    return 3 * count_macs(network(arguments, training.depths)) + teaching


def timed(arguments, trainings):
    """`seconds_per_step` of every training: a dict from names to arrays with a number for each round."""
    models = {name: compiled(arguments, training) for name, training in trainings.items()}
    rounds = []
    for number in range(1 + arguments.rounds):
        order = random.Random(number).sample(list(models), len(models))
        rounds.append({name: seconds_per_step(models[name], arguments) for name in order})
    return {name: np.array([found[name] for found in rounds[1:]]) for name in models}  # the first round compiles


def seconds_per_step(model, arguments):
    """Seconds of a step, without the first one, which starts the data."""
    import keras

    times = []

    def note(batch, logs):
        if batch in (0, arguments.steps):
            float(logs["loss"])  # waits for devices that compute behind Python's back
            times.append(time.perf_counter())

    count, size = (1 + arguments.steps) * arguments.batch_size, arguments.image_size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), "uint8")
    labels = np.arange(count) % 10
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(images, labels, batch_size=arguments.batch_size, shuffle=False, verbose=0, callbacks=[watch])
    first, last = times
    return (last - first) / arguments.steps


if __name__ == "__main__":
    run(main, parser)
