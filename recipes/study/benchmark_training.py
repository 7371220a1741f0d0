"""Times the training of several depths: each alone, all jointly, and as one would otherwise distil them.

For example:

    python recipes/study/benchmark_training.py --backbone resnet_cifar --depths 8 14 20
    KERAS_BACKEND=jax python recipes/study/benchmark_training.py --depths 10 18 34 50 100 --growth

Routes to the same networks are compared:

- each alone: the sum of one training for each depth;
- jointly: all depths in one network, cross-entropy only, or with EKD;
- full-net, then Distiller: the full-net alone, then `keras.distillation.Distiller` for each smaller depth;
- with `--growth`: EKD with one depth, two, three and so on, beside the full-net alone.

In each round every training takes some steps, in random order, so that whatever else the machine does meets all of
them. Equal networks of one process can differ by a tenth, so all is repeated in several processes. Times are relative
to the first route: the median over all rounds, and its quartiles. CPU is the same of the processors' time. The floor
is arithmetic: a step takes the multiply-accumulates of three forward passes, and a teacher one more. Images are random.
"""

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import os
import random
import time
import typing

import numpy as np

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, positive_integer, print_table, run
from ddnn_keras.runs.arguments import add_flags, check_depths
from ddnn_keras.runtime.process_memory import process_memory

# Routes that are compared with each other too: what distillation adds, and what it would take otherwise.
COMPARED = [("jointly, EKD", "jointly, cross-entropy"), ("jointly, EKD", "full-net, then Distiller")]


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
add("--rounds", type=positive_integer, default=7, help="how often each takes its turn in a process")
add("--processes", type=positive_integer, default=3, help="how often all of it is done, in a process of its own")
add("--growth", action="store_true", help="shows how cost grows with the number of depths")
add("--output", help="a JSON file for all numbers")


def main(arguments):
    """Measures memory, then time, and prints them."""
    check_depths(arguments)
    if arguments.output and os.path.isdir(arguments.output):
        raise ValueError(f"--output must be a name for a file, not a folder. Received: {arguments.output}")
    trainings, routes = growth(arguments) if arguments.growth else alternatives(arguments)
    # Each in a process that does nothing else. This process itself must not take the device before.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        peaks = pool.map(memory_of, itertools.repeat(arguments), trainings.values())
        memory = dict(zip(trainings, peaks))
        rounds = itertools.repeat(arguments), itertools.repeat(trainings), range(arguments.processes)
        seconds = list(pool.map(timed, *rounds))
    seconds = {name: np.stack([of_process[name] for of_process in seconds]) for name in trainings}
    measured = {
        label: {
            "seconds": sum(seconds[name] for name in names),
            "macs": sum(macs_of(arguments, trainings[name]) for name in names),
            "memory": max(memory[name] for name in names),
        }
        for label, names in routes.items()
    }
    rows = [row(measured, label, next(iter(routes))) for label in routes]
    pairs = [row(measured, *pair) for pair in COMPARED if set(pair) <= set(routes)]
    print_results(rows, pairs, arguments.batch_size)
    if arguments.output:
        from ddnn_keras.runs.provenance import provenance

        of_all = {"seconds, of all processors": {name: values.tolist() for name, values in seconds.items()}}
        content = {"arguments": vars(arguments), **provenance(), "rows": rows, "pairs": pairs, **of_all}
        with atomic_write(arguments.output) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")


def alternatives(arguments):
    """The trainings by name, and the routes to all depths, lists of such names."""
    *shallow, full_net = depths = tuple(sorted(arguments.depths))
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


def growth(arguments):
    """The trainings of one depth, two, three and so on, the full-net always among them; each is a route."""
    depths = tuple(sorted(arguments.depths))
    held = [depths[-count:] for count in range(1, len(depths) + 1)]
    trainings = {" ".join(map(str, some)): Training(some, ekd=True) for some in held}
    return trainings, {name: [name] for name in trainings}


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


def timed(arguments, trainings, number):
    """`seconds_per_step` of every training: a dict from names to arrays with a row for each round."""
    order = random.Random(number)
    models = {name: compiled(arguments, trainings[name]) for name in order.sample(list(trainings), len(trainings))}
    for model in models.values():
        seconds_per_step(model, arguments, arguments.steps)  # compiles
    seconds = {name: [] for name in models}
    for _ in range(arguments.rounds):
        for name in order.sample(list(models), len(models)):
            seconds[name].append(seconds_per_step(models[name], arguments, arguments.steps))
    return {name: np.array(values) for name, values in seconds.items()}


def seconds_per_step(model, arguments, steps):
    """Seconds of a step by the clock and of all processors together, without the first step, which starts the data."""
    import keras

    times = []

    def note(batch, logs):
        if batch in (0, steps):
            float(logs["loss"])  # waits for devices that compute behind Python's back
            times.append((time.perf_counter(), time.process_time()))

    count, size = (1 + steps) * arguments.batch_size, arguments.image_size
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), "uint8")
    labels = np.arange(count) % 10
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(images, labels, batch_size=arguments.batch_size, shuffle=False, verbose=0, callbacks=[watch])
    first, last = np.array(times)
    return (last - first) / steps


def memory_of(arguments, training):
    """Peak memory of a training in bytes: the accelerator's as JAX tells it, or what the process took more."""
    import keras

    before = process_memory()
    seconds_per_step(compiled(arguments, training), arguments, steps=1)
    if keras.backend.backend() == "jax":
        import jax

        if statistics := jax.local_devices()[0].memory_stats():
            return statistics["peak_bytes_in_use"]
    return process_memory(peak=True) - before


def row(measured, label, other):
    """What is measured of the route `label`, and relative to the route `other`."""
    route, reference = measured[label], measured[other]
    step, processor = np.moveaxis(route["seconds"] / reference["seconds"], -1, 0)
    lower, median, upper = np.quantile(step, [0.25, 0.5, 0.75])
    return {
        "route": label,
        "relative to": other,
        "seconds": float(np.median(route["seconds"][..., 0])),
        "relative": float(median),
        "quartiles": [float(lower), float(upper)],
        "processes": np.median(step, axis=1).tolist(),
        "processor time, relative": float(np.median(processor)),
        "floor": route["macs"] / reference["macs"],
        "macs": route["macs"],
        "memory": route["memory"],
    }


def print_results(rows, pairs, batch_size):
    """All routes, and how two of them compare."""
    cells = []
    for found in rows:
        speed = [f"{1000 * found['seconds']:,.1f}", f"{batch_size / found['seconds']:,.0f}"]
        memory = f"{found['memory'] / 2**20:,.0f}"
        cells.append([found["route"], *speed, spread(found), f"{found['floor']:.3f}", memory])
    print_table(["route", "ms/step", "images/s", "relative", "floor", "peak MB"], cells)
    for found in pairs:
        medians = " ".join(f"{median:.3f}" for median in found["processes"])
        figures = f"processes {medians}, CPU {found['processor time, relative']:.2f}, floor {found['floor']:.3f}"
        print(f"{found['route']} / {found['relative to']}: {spread(found)}, {figures}")


def spread(found):
    """The median of a ratio and its quartiles."""
    lower, upper = found["quartiles"]
    return f"{found['relative']:.3f} [{lower:.2f}, {upper:.2f}]"


if __name__ == "__main__":
    run(main, parser)
