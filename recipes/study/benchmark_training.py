"""Times the training of several depths: each alone, all jointly, and as one would otherwise distil them.

For example:

    python recipes/study/benchmark_training.py --backbone resnet_cifar --depths 8 14 20
    KERAS_BACKEND=jax python recipes/study/benchmark_training.py --depths 10 18 34 50 100 --growth

What is compared are routes to the same networks:

- each alone: the sum of one training for each depth;
- jointly: all depths in one network, cross-entropy only, or with EKD;
- full-net, then Distiller: the full-net alone, then `keras.distillation.Distiller` for each smaller depth;
- with `--growth`: EKD with one depth, two, three and so on, beside the full-net alone.

The trainings take turns: in each round every one takes some steps, in random order, so that whatever else the machine
does meets all of them. Equal networks of one process can differ by a tenth. So all of it is repeated in several
processes, which make the networks in random order too. Images are random and lie in memory.

Times are relative to the first route: the median over all rounds, and its quartiles. CPU is the same of the processors'
time, which other programs on the machine disturb less. Where two routes are compared, the median of each process is
shown too. The floor is what times would be if they were arithmetic: a step takes the multiply-accumulates of three
forward passes, and a teacher one more.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import json
import multiprocessing
import os
import random
import time

import numpy as np

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.backbones import BACKBONES, STEMS
from ddnn_keras.command_line import ArgumentParser, positive_integer, positive_number, print_table, run
from ddnn_keras.runs.arguments import check_depths
from ddnn_keras.runtime.process_memory import memory_now, peak_memory

# In forward passes' arithmetic: the output, the gradient for each layer's input and the gradient for its weights.
TRAINING, TEACHING = 3, 1

# Routes that are compared with each other too: what distillation adds, and what it would take otherwise.
COMPARED = [("jointly, EKD", "jointly, cross-entropy"), ("jointly, EKD", "full-net, then Distiller")]


@dataclasses.dataclass(frozen=True)
class Training:
    """A network that is trained."""

    model: callable
    passes: dict


def argument_parser():
    """The command line."""
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--backbone", default="resnet", choices=BACKBONES, help="family of networks")
    add("--depths", type=int, nargs="+", default=[18, 34, 50], help="the sub-nets")
    add("--width", type=positive_integer, help="channels of the first stage; by default the published networks'")
    add("--stem", default="cifar", choices=STEMS, help="for small images, or for large ones")
    add("--image-size", type=positive_integer, default=32, help="height and width of an image, in pixels")
    add("--batch-size", type=positive_integer, default=32, help="images per step")
    add("--precision", default="float32", choices=["float32", "mixed_bfloat16", "mixed_float16"], help="dtype policy")
    jit = "whether XLA compiles the step; by default with JAX alone, since it is slower on a CPU with TensorFlow"
    add("--jit-compile", action=argparse.BooleanOptionalAction, help=jit)
    add("--steps", type=positive_integer, default=5, help="timed steps of each training in a round")
    add("--rounds", type=positive_integer, default=7, help="how often each takes its turn in a process")
    add("--processes", type=positive_integer, default=3, help="how often all of it is done, in a process of its own")
    add("--growth", action="store_true", help="shows how cost grows with the number of depths")
    add("--matrix-rate", type=positive_number, help="the device's peak in TFLOP/s, to print the share that is used")
    add("--output", help="a JSON file for all numbers")
    return parser


def main(arguments):
    """Measures memory, then time, and prints them."""
    check_depths(arguments)
    if arguments.output and os.path.isdir(arguments.output):
        raise ValueError(f"--output must be a name for a file, not a folder. Received: {arguments.output}")
    trainings, routes = comparison(arguments)
    # This process itself must not take the device before.
    memory = {name: in_a_process(memory_of, arguments, name) for name in trainings}
    seconds = [in_a_process(timed, arguments, number) for number in range(arguments.processes)]
    seconds = {name: np.stack([of_process[name] for of_process in seconds]) for name in trainings}
    macs = macs_of(arguments, trainings)
    first = next(iter(routes))
    rows = [row(routes, label, first, seconds, macs, memory) for label in routes]
    print_rows(rows, arguments)
    pairs = [row(routes, *pair, seconds, macs, memory) for pair in COMPARED if set(pair) <= set(routes)]
    print_pairs(pairs)
    if arguments.output:
        with atomic_write(arguments.output) as temporary:
            temporary.write_text(json.dumps(report(arguments, rows, pairs, seconds), indent=2) + "\n")


def comparison(arguments):
    """What is compared: the trainings by name, and the routes, lists of such names."""
    return (growth if arguments.growth else alternatives)(arguments)


def alternatives(arguments):
    """The trainings and the routes that lead to all depths."""
    from ddnn_keras import EKD

    *shallow, full_net = depths = tuple(sorted(arguments.depths))
    alone, joint, taught = {}, {}, {}
    for depth in depths:
        alone[f"{depth} alone"] = training(arguments, (depth,))
    for name, distillation in {"jointly, cross-entropy": None, "jointly, EKD": EKD()}.items():
        joint[name] = training(arguments, depths, distillation)
    for depth in shallow:
        passes = {(depth,): TRAINING, (full_net,): TEACHING}
        taught[f"{depth} with Distiller"] = Training(functools.partial(distiller, arguments, full_net, depth), passes)
    routes = {
        "each alone": list(alone),
        **{name: [name] for name in joint},
        "full-net, then Distiller": [f"{full_net} alone", *taught],
        **{name: [name] for name in [*alone, *taught]},
    }
    return {**alone, **joint, **taught}, routes


def growth(arguments):
    """The trainings of one depth, two, three and so on, the full-net always among them."""
    from ddnn_keras import EKD

    depths = tuple(sorted(arguments.depths))
    held = [depths[-count:] for count in range(1, len(depths) + 1)]
    trainings = {" ".join(map(str, some)): training(arguments, some, EKD()) for some in held}
    return trainings, {name: [name] for name in trainings}


def training(arguments, depths, distillation=None):
    """The training of one network."""
    return Training(functools.partial(network, arguments, depths, distillation), {depths: TRAINING})


def network(arguments, depths, distillation=None):
    """A compiled network of some depths."""
    from ddnn_keras import DDNN

    model = DDNN(
        depths,
        backbone=arguments.backbone,
        width=arguments.width,
        stem=arguments.stem,
        input_shape=image_shape(arguments),
        dtype=arguments.precision,
    )
    model.compile(metrics=["accuracy"], distillation=distillation, **optimization(arguments))
    return model


def distiller(arguments, teacher, student):
    """Keras' way to distil one network from another."""
    import keras

    model = keras.distillation.Distiller(
        network(arguments, [teacher]).subnet(teacher),
        network(arguments, [student]).subnet(student),
        # An instance: with the default name of the loss, Keras 3.15 applies no softmax.
        keras.distillation.LogitsDistillation(loss=keras.losses.KLDivergence()),
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, metrics=["accuracy"], **optimization(arguments))
    return model


def optimization(arguments):
    """The optimizer of every training, and whether XLA compiles it."""
    import keras

    by_default = keras.backend.backend() == "jax"
    return {
        "optimizer": keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "jit_compile": by_default if arguments.jit_compile is None else arguments.jit_compile,
    }


def image_shape(arguments):
    """Colour images."""
    return arguments.image_size, arguments.image_size, 3


def macs_of(arguments, trainings):
    """Multiply-accumulates that a step takes for each image: a dict from the trainings' names."""
    from ddnn_keras.network.cost import count_macs

    networks = {depths for training in trainings.values() for depths in training.passes}
    macs = {depths: count_macs(network(arguments, depths)) for depths in networks}
    return {name: sum(times * macs[d] for d, times in some.passes.items()) for name, some in trainings.items()}


def in_a_process(function, *arguments):
    """What the function gives in a process that does nothing else."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def timed(arguments, number):
    """`seconds_per_step` of every training: a dict from names to arrays with a row for each round."""
    trainings, _ = comparison(arguments)
    order = random.Random(number)
    models = {name: trainings[name].model() for name in order.sample(list(trainings), len(trainings))}
    for model in models.values():
        seconds_per_step(model, arguments)  # compiles
    seconds = {name: [] for name in models}
    for _ in range(arguments.rounds):
        for name in order.sample(list(models), len(models)):
            seconds[name].append(seconds_per_step(models[name], arguments))
    return {name: np.array(values) for name, values in seconds.items()}


def seconds_per_step(model, arguments):
    """What a step of `fit` takes, without the first one, which starts the input pipeline."""
    import keras

    times = []

    def note(batch, logs):
        if batch in (0, arguments.steps):
            float(logs["loss"])  # waits for devices that compute behind Python's back
            times.append((time.perf_counter(), time.process_time()))

    random_numbers = np.random.default_rng(0)
    count = (1 + arguments.steps) * arguments.batch_size
    images = random_numbers.integers(0, 256, (count, *image_shape(arguments)), "uint8")
    labels = random_numbers.integers(0, 10, count)
    watch = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(images, labels, batch_size=arguments.batch_size, shuffle=False, verbose=0, callbacks=[watch])
    first, last = np.array(times)
    return (last - first) / arguments.steps


def memory_of(arguments, name):
    """Peak memory of a training, in bytes, above what the process had before: the device's own where there is one."""
    before = memory_now()
    trainings, _ = comparison(arguments)
    seconds_per_step(trainings[name].model(), argparse.Namespace(**{**vars(arguments), "steps": 1}))
    return device_memory() or peak_memory() - before


def device_memory():
    """Peak memory of the accelerator as JAX tells it, or `None`."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return None


def row(routes, label, other, seconds, macs, memory):
    """What is measured of the route `label`, and relative to the route `other`."""
    (step, processor), (step_of_other, processor_of_other) = (
        np.moveaxis(sum(seconds[name] for name in routes[route]), -1, 0) for route in (label, other)
    )
    macs, macs_of_other = (sum(macs[name] for name in routes[route]) for route in (label, other))
    lower, median, upper = np.quantile(step / step_of_other, [0.25, 0.5, 0.75])
    return {
        "route": label,
        "relative to": other,
        "seconds": float(np.median(step)),
        "relative": float(median),
        "quartiles": [float(lower), float(upper)],
        "processes": np.median(step / step_of_other, axis=1).tolist(),
        "processor time, relative": float(np.median(processor / processor_of_other)),
        "floor": macs / macs_of_other,
        "macs": macs,
        "memory": max(memory[name] for name in routes[label]),
    }


def spread(found):
    """The median of a ratio and its quartiles, for people."""
    lower, upper = found["quartiles"]
    return f"{found['relative']:.3f} [{lower:.2f}, {upper:.2f}]"


def print_rows(rows, arguments):
    """The rows, for people."""
    headers = ["route", "ms/step", "images/s", "relative", "floor", "peak MB"]
    cells = [
        [
            found["route"],
            f"{1000 * found['seconds']:,.1f}",
            f"{arguments.batch_size / found['seconds']:,.0f}",
            spread(found),
            f"{found['floor']:.3f}",
            f"{found['memory'] / 2**20:,.0f}",
        ]
        for found in rows
    ]
    if rate := arguments.matrix_rate:
        headers.append("of peak")
        for found, line in zip(rows, cells):
            # A multiply-accumulate is two operations.
            operations = 2 * found["macs"] * arguments.batch_size
            line.append(f"{operations / found['seconds'] / (1e12 * rate):.1%}")
    print_table(headers, cells)


def print_pairs(pairs):
    """How two routes compare, for people."""
    for found in pairs:
        medians = " ".join(f"{median:.3f}" for median in found["processes"])
        figures = [
            spread(found),
            f"processes {medians}",
            f"CPU {found['processor time, relative']:.2f}",
            f"floor {found['floor']:.3f}",
        ]
        print(f"{found['route']} / {found['relative to']}: {', '.join(figures)}")


def report(arguments, rows, pairs, seconds):
    """All numbers, and what made them."""
    from ddnn_keras.runs.provenance import provenance

    return {
        "arguments": {name: value for name, value in vars(arguments).items() if name != "output"},
        **provenance(),
        "rows": rows,
        "pairs": pairs,
        "seconds, of all processors": {name: values.tolist() for name, values in seconds.items()},
    }


if __name__ == "__main__":
    run(main, argument_parser())
