"""Trains one network that holds several depths, and writes a run directory: what every recipe that trains calls."""

import argparse
import contextlib
import dataclasses
import importlib.util
import math
import shlex
import textwrap
from collections.abc import Callable

import keras

from ddnn_keras import DDNN, EKD, load_pretrained
from ddnn_keras.atomic_write import write_json
from ddnn_keras.command_line import print_table
from ddnn_keras.depths import output_key
from ddnn_keras.network.cost import count_macs, count_parameters
from ddnn_keras.runs.arguments import (
    DISTILLATIONS,
    check_depths,
    check_effect,
    load_images,
    of_the_run,
    with_absolute_paths,
)
from ddnn_keras.runs.checkpoint import Checkpoint, resume
from ddnn_keras.runs.curves import draw_curves
from ddnn_keras.runs.devices import ALONE, several_devices
from ddnn_keras.runs.earlier_runs import resumed, unused
from ddnn_keras.runs.epoch_table import EpochTable
from ddnn_keras.runs.folder_lock import one_at_a_time
from ddnn_keras.runs.provenance import provenance
from ddnn_keras.runs.run_directory import RunDirectory, check_run, data_facts, new_output
from ddnn_keras.training.tensorflow_speed import SGD

MOMENTUM = 0.9
# Pixels: above, networks for small images need much memory.
SMALL_IMAGES = 64


def main(arguments, parser):
    """Trains a new network, or goes on with a run."""
    devices = arguments
    if arguments.resume:
        run_directory = RunDirectory(arguments.resume)
        arguments = resumed(run_directory, parser)
    else:
        check_depths(arguments)
        check_effect("The command line", arguments, parser.typed())
        if devices.hosts and not arguments.output:
            raise ValueError("--hosts must go with --output, one folder for all hosts.")
        depths = "-".join(map(str, arguments.depths))
        words = arguments.dataset, arguments.backbone, depths, arguments.distillation
        run_directory = RunDirectory(arguments.output or new_output(*words))
        unused(run_directory)
        arguments = with_absolute_paths(arguments)
    with several_devices(devices, arguments.batch_size) as share:
        train(arguments, run_directory, share=share)
    print(f"Next: python export/to_tflite.py --model {shlex.quote(str(run_directory.model))} --depth all")


def train(arguments, run_directory, share=ALONE, procedure=None, images=None):
    """Trains, tests and gives the network that `arguments` describe. A run that stands in `run_directory` goes on.

    By default the `Procedure` is that of train.py, and images are loaded as the arguments say.
    """
    procedure = procedure or Procedure()
    if arguments.tensorboard:
        check_tensorboard()
    print(f"Run directory: {run_directory.path}")
    images = images or load_images(arguments)
    numbers = (
        f"{images.num_train:,} for training, {images.num_validation:,} for validation, {images.num_test:,} for testing"
    )
    print(f"Images: {numbers}. {images.num_classes} classes: {textwrap.shorten(', '.join(images.class_names), 60)}")
    if run_directory.config.exists():
        check_run(run_directory, images)
    # Not before: preparing a data set draws random numbers too.
    keras.utils.set_random_seed(arguments.seed)
    with one_at_a_time(run_directory.path) if share.is_first else contextlib.nullcontext():
        if run_directory.model.exists():
            model, first_epoch = resume(run_directory.model)
        else:
            model, first_epoch = procedure.new_network(arguments, images), 0
        if share.is_first:
            exists = run_directory.config.exists()
            config = run_directory.read_config() if exists else {**data_facts(images), **provenance()}
            write_json(run_directory.config, {**config, "arguments": of_the_run(arguments)})
            run_directory.tidy(first_epoch)
        # Earlier runs and other recipes know no such argument.
        if vars(arguments).get("teacher_epochs"):
            teacher = trained_teacher(model, arguments, run_directory, share, images)
            if first_epoch == 0:
                load_pretrained(model, teacher)
            compile_network(model, arguments, model.optimizer, teacher)
        make_deterministic()
        procedure.fit(model, arguments, images, run_directory, first_epoch, share)
        split = {"test": images.test, "validation": images.validation}[arguments.evaluate_on]
        metrics = final_metrics(model, split(arguments.batch_size), share)
        procedure.complete(metrics, model, split(arguments.batch_size), images.class_names, run_directory)
        if share.is_first:
            draw_curves(run_directory.read_history(), run_directory.curves)
            write_json(run_directory.metrics, metrics)
    print_metrics(metrics, arguments.evaluate_on)
    return model


def trained_teacher(model, arguments, run_directory, share, images):
    """The full-net, which was or is now trained alone, in a run of its own within the run."""
    full_net = list(model.depths)[-1]
    of_teacher = {"depths": [full_net], "epochs": arguments.teacher_epochs, "teacher_epochs": 0}
    of_teacher |= {"distillation": "none", "evaluate_on": "validation"}
    arguments = argparse.Namespace(**{**vars(arguments), **of_teacher})
    # Not read from the run's file, which another host may still be writing.
    return train(arguments, run_directory.teacher, share, images=images).subnet(full_net)


def fit(model, arguments, images, run_directory, first_epoch, share):
    """All epochs, on batches as they are."""
    if arguments.warmup_epochs >= arguments.epochs:
        print(f"Warm-up takes all epochs ({arguments.epochs}): no cosine follows. --warmup-epochs can be fewer.")
    batches = share.of(images.train(arguments.batch_size, seed=arguments.seed, first_epoch=first_epoch))
    files = writers(arguments, run_directory) if share.is_first else []
    callbacks = [FiniteLoss(), *share.callbacks, *files]
    fit_epochs(model, arguments, images, batches, (first_epoch, arguments.epochs), callbacks)


def fit_epochs(model, arguments, images, batches, epochs, callbacks):
    """Plain `model.fit` from one epoch to another. Gives Keras' history."""
    with contextlib.closing(EpochTable(model.depths, arguments.epochs)) as table:
        return model.fit(
            batches,
            steps_per_epoch=images.steps_per_epoch(arguments.batch_size),
            initial_epoch=epochs[0],
            epochs=epochs[1],
            validation_data=images.validation(arguments.batch_size),
            validation_freq=arguments.validation_freq,
            callbacks=[*callbacks, table],
            shuffle=False,  # `train` shuffles
            verbose=0,
        )


class FiniteLoss(keras.callbacks.Callback):
    """Ends a training whose loss is no number, before that epoch is saved.

    Keras' own `TerminateOnNaN` waits for the device after each step to read its loss.
    """

    def on_epoch_end(self, epoch, logs=None):
        """Looks at the epoch's mean loss."""
        if not math.isfinite(logs["loss"]):
            raise ValueError(f"NaN or Inf loss in epoch {epoch + 1}. A smaller --learning-rate may help.")


def writers(arguments, run_directory):
    """The callbacks that write files, in this order: an epoch that is saved is also logged."""
    board = [keras.callbacks.TensorBoard(run_directory.tensorboard)] if arguments.tensorboard else []
    return [keras.callbacks.CSVLogger(run_directory.history, append=True), *board, Checkpoint(run_directory.model)]


def make_deterministic():
    """Makes a run a function of its arguments, so that a resumed one ends as if it had never been killed."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # This also turns XLA off, which on a CPU takes three times as long as TensorFlow's own kernels.
        tf.config.experimental.enable_op_determinism()


def check_tensorboard():
    """Says before a run begins what Keras' callback would miss in it."""
    for package in ("tensorflow", "tensorboard"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(f'--tensorboard needs {package}: pip install "ddnn_keras[{package}]"')


def compiled_network(arguments, images):
    """A new network with its optimizer and objective."""
    if max(images.image_shape) > SMALL_IMAGES and arguments.stem == "cifar" and arguments.backbone != "vgg":
        print(
            f"--stem cifar keeps {images.image_shape[0]} pixels: --stem imagenet takes a sixteenth of time and memory."
        )
    model = DDNN(
        depths=arguments.depths,
        backbone=arguments.backbone,
        num_classes=images.num_classes,
        input_shape=images.image_shape,
        width=arguments.width,
        stem=arguments.stem,
        dtype=arguments.precision,
    )
    if arguments.pretrained:
        load_pretrained(model, arguments.pretrained)
    compile_network(model, arguments, optimizer(arguments, images.steps_per_epoch(arguments.batch_size)))
    return model


def compile_network(model, arguments, optimizer, teacher=None):
    """Gives a network its optimizer and objective, with the teacher that was trained first where one was."""
    *students, full_net = model.output_keys
    model.compile(
        optimizer,
        loss_weights={**dict.fromkeys(students, arguments.student_weight), full_net: 1.0},
        metrics=["accuracy"],
        distillation=distillation(arguments, teacher),
        # Beside a GPU Keras would have TensorFlow's steps compiled by XLA, which has not every operation deterministic.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )


def optimizer(arguments, steps_per_epoch):
    """SGD with linear warm-up and a cosine to zero."""
    steps, warmup_steps = arguments.epochs * steps_per_epoch, arguments.warmup_epochs * steps_per_epoch
    return sgd(schedule(arguments.learning_rate, warmup_steps, steps), arguments.weight_decay)


def schedule(learning_rate, warmup_steps, steps):
    """Linear warm-up to a learning rate, and a cosine to zero."""
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
    )


def sgd(learning_rate, weight_decay):
    """SGD with Nesterov momentum and an L2 penalty."""
    # Keras decays weights outside the momentum; an L2 penalty goes through it and so acts 1 / (1 - momentum) times.
    weight_decay /= 1 - MOMENTUM
    return SGD(learning_rate, momentum=MOMENTUM, nesterov=True, weight_decay=weight_decay)


def distillation(arguments, teacher=None):
    """The `EKD` that the command line asks for, with the teacher that was trained first where one was."""
    ekd = EKD(
        temperature=arguments.temperature,
        kl_weight=arguments.kl_weight,
        attention_weight=arguments.attention_weight,
        attention=arguments.attention,
        teacher=teacher or arguments.teacher,
    )
    return dataclasses.replace(ekd, **DISTILLATIONS[arguments.distillation])


def final_metrics(model, images, share=ALONE):
    """Each depth's accuracy and loss on a split, and its cost."""
    results = model.evaluate(images, return_dict=True, verbose=0, callbacks=list(share.callbacks))
    metrics = metrics_of_depths(results, model.depths)
    for depth in model.depths:
        subnet = model.subnet(depth)
        metrics[output_key(depth)] |= {"parameters": count_parameters(subnet), "macs": count_macs(subnet)}
    return metrics


def metrics_of_depths(results, depths):
    """Each depth's accuracy and loss among Keras' results; a loss that is no number is `None`, as JSON wants it."""
    results = {name: value if math.isfinite(value) else None for name, value in results.items()}
    return {
        key: {
            # Keras drops the prefix where there is one output.
            "accuracy": results.get(f"{key}_accuracy", results.get("accuracy")),
            "loss": results.get(f"{key}_loss", results["loss"]),
        }
        for key in map(output_key, depths)
    }


def print_metrics(metrics, split):
    """The results, for people."""
    rows = []
    for key, row in metrics.items():
        costs = f"{row['parameters']:,}", f"{row['macs'] / 1e6:,.1f} M"
        rows.append([key.removeprefix("depth_"), f"{row['accuracy']:.2%}", *costs])
        if "recall" in row:
            worst = min(row["recall"], key=row["recall"].get)
            rows[-1].append(f"{row['recall'][worst]:.1%} {worst}")
    headers = ["depth", f"{split} accuracy", "parameters", "MACs", "worst recall"]
    print_table(headers[: len(rows[0])], rows)


@dataclasses.dataclass(frozen=True)
class Procedure:
    """How a run is trained."""

    new_network: Callable = compiled_network  # makes it of the arguments and the images
    fit: Callable = fit  # trains it from an epoch on
    complete: Callable = lambda *_: None  # adds to the metrics and to the run directory what else is found in the end
