"""Fine-tunes a pretrained network on your own photos: several depths in one network, in a run directory.

For example:

    python recipes/finetune.py --dataset folder:photos
    python recipes/finetune.py --dataset folder:photos --start keras:MobileNetV2 --depths 2
    python recipes/finetune.py --resume runs/folder-photos_...

Classifiers are trained first, then all layers at a lower rate. The network of the best epoch stays, by the mean of all
depths' validation accuracy. Every class counts the same, however many photos it has.
"""

import argparse
import pathlib
import shlex

from ddnn_keras.backbones import PUBLISHED
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, non_negative_number, positive_integer, run
from ddnn_keras.runs.arguments import DATA, DISTILLATION, RUN, add_flags, check_effect, with_absolute_paths
from ddnn_keras.runs.earlier_runs import resumed, unused
from ddnn_keras.runs.run_directory import RunDirectory, new_output


def existing_start(text):
    """A name that is known, or a file."""
    if text not in PUBLISHED and text.partition(":")[0] not in ("keras", "hub") and not pathlib.Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is no file, and none of {start}")
    return text


parser = ArgumentParser(__doc__)
add_flags(parser, DATA, dataset="folder:photos")
add, number = parser.add_argument, non_negative_number
start = f"{', '.join(PUBLISHED)}, keras:NAME of keras.applications, hub:PRESET of KerasHub, or a .keras file"
add("--start", type=existing_start, default="efficientnet_lite0", help=start)
add("--weights", metavar="FILE", help="weights for it from a file, where nothing can be downloaded")
preprocessing = "what the start wants done to pixels (0..1: a division by 255); by default known from its name"
add("--preprocessing", default="auto", choices=["auto", "none", "0..1", "tf", "torch", "caffe"], help=preprocessing)
add("--depths", type=positive_integer, default=3, help="how many; the deepest teaches the others")
add("--augment", default="light", choices=["none", "light", "rand"], help="light: turned and lit; rand: RandAugment")
add("--epochs", type=positive_integer, help="in all; by default 5 to 100, fewer for more photos")
add("--head-epochs", type=non_negative_integer, help="of them, for the classifiers alone; by default a tenth")
patience = "epochs without one as good as the best before the training stops; by default a third of all"
add("--patience", type=positive_integer, help=patience)
add("--batch-size", type=positive_integer, help="images per update; by default 32, or all if there are fewer")
add("--optimizer", default="sgd", choices=["sgd", "adamw"], help="SGD with Nesterov momentum, or AdamW")
add("--learning-rate", type=number, help="peak of the cosine; by default 0.01 for sgd, 0.0003 for adamw")
add("--weight-decay", type=number, help="not of normalisation and biases; by default 4e-5 for sgd, 0.05 for adamw")
add_flags(parser, ["precision", *DISTILLATION, *RUN], distillation="kl", validation_freq=1)


def main(arguments):
    from ddnn_keras.runs import finetuning, trainer  # not before: it takes seconds

    if arguments.resume:
        run_directory, images = RunDirectory(arguments.resume), None
        arguments = resumed(run_directory, parser, "finetune.py")
    else:
        check_effect("The command line", arguments, parser.typed())
        start = f"{arguments.start}_{arguments.depths}-depths"
        output = arguments.output or new_output(arguments.dataset, start, arguments.distillation)
        run_directory, arguments = unused(RunDirectory(output)), with_absolute_paths(arguments)
        images = finetuning.settled_images(arguments)
    trainer.train(arguments, run_directory, procedure=finetuning.PROCEDURE, images=images)
    model = shlex.quote(str(run_directory.model))
    print(f"Next: python export/to_tflite.py --model {model} --depth all --bundle --quantize int8")


if __name__ == "__main__":
    run(main, parser)
