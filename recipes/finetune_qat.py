"""Trains a finished run's network on, with the rounding of int8 files, where these are not accurate enough.

For example:

    python recipes/train.py --dataset digits --depths 18 34 50 --width 16
    python recipes/finetune_qat.py                  # the newest run; or --run runs/digits_...
    python export/to_tflite.py --depth all --bundle --quantize int8

All depths are trained together and stay in one network. If the deepest taught before, it goes on teaching. The bundle
stores its int8 weights once for all depths. The new run has the old one's arguments, except those given here.
"""

import argparse
import os
import pathlib
import shlex

from ddnn_keras.command_line import ArgumentParser, non_negative_number, positive_integer, run
from ddnn_keras.runs.arguments import with_absolute_paths
from ddnn_keras.runs.earlier_runs import finished_run, resumed, unused
from ddnn_keras.runs.run_directory import RunDirectory, check_run

RANGE_IMAGES = 200  # training images by which the ranges of activations begin

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("--run", help="the directory of a finished run; by default the newest in runs/")
add("--epochs", type=positive_integer, default=5, help="passes over the training images")
# A twentieth of train.py's default: the network is to stay where it is, on the grid of 8 bits.
add("--learning-rate", type=non_negative_number, default=0.0025, help="at the start of the cosine schedule")
add("--dataset", help="where the run's photos lie now, if they have moved: folder:PATH")
add("--output", help="the new run directory; by default the old one's name and _qat")
add("--resume", metavar="RUN", help="goes on with the fine-tuning in this directory")


def main(arguments):
    if arguments.resume:
        run_directory = RunDirectory(arguments.resume)
        arguments = resumed(run_directory, parser, "finetune_qat.py")
    else:
        source, saved = finished_run(arguments.run)
        folder = pathlib.Path(os.path.abspath(source.path))  # `.` has no name
        output = arguments.output or folder.with_name(f"{folder.name}_qat")
        run_directory, arguments = unused(RunDirectory(output)), settings_of(arguments, source, saved)
    from ddnn_keras.runs import finetuning, trainer  # not before: it takes seconds
    from ddnn_keras.runs.confusion import add_recall

    # A run of finetune.py goes on as it was trained: with class weights, augmentation and the best epoch.
    ways = (finetuning.fit, add_recall) if hasattr(arguments, "start") else ()
    trainer.train(arguments, run_directory, procedure=trainer.Procedure(rounded_network, *ways))
    model = shlex.quote(str(run_directory.model))
    print(f"Next: python export/to_tflite.py --model {model} --depth all --bundle --quantize int8")


def settings_of(arguments, source, saved):
    """The arguments of the new run: those of the old one, but for what fine-tuning wants."""
    settings = {
        **vars(saved),
        "epochs": arguments.epochs,
        "learning_rate": arguments.learning_rate,
        "warmup_epochs": 0,
        "validation_freq": 1,
        "precision": "float32",
        "teacher_epochs": 0,
        "source": str(source.model.absolute()),
        "dataset": arguments.dataset or saved.dataset,
    }
    if hasattr(saved, "start"):
        from ddnn_keras.runs.finetuning import WEIGHT_DECAYS

        decay = WEIGHT_DECAYS["sgd"]
        settings |= {"head_epochs": 0, "patience": arguments.epochs, "optimizer": "sgd", "weight_decay": decay}
    return with_absolute_paths(argparse.Namespace(**settings))


def rounded_network(arguments, images):
    """The network that was trained, with fake quantization."""
    from ddnn_keras.quantization_aware import quantization_aware
    from ddnn_keras.runs import trainer
    from ddnn_keras.runs.checkpoint import load_network

    source = pathlib.Path(arguments.source)
    check_run(RunDirectory(source.parent), images)
    pixels = images.calibration_images(min(RANGE_IMAGES, images.num_train))
    model = quantization_aware(load_network(source), pixels)
    steps_per_epoch = images.steps_per_epoch(arguments.batch_size)
    trainer.compile_network(model, arguments, trainer.optimizer(arguments, steps_per_epoch))
    return model


if __name__ == "__main__":
    run(main, parser)
