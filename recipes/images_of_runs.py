"""The images that several runs have in common: networks compare only on what none of them was trained on."""

import argparse

import train

# What decides which images a run was trained on, and which it was validated on.
OF_THE_DATA = ("dataset", "image_size", "train_images", "seed")


def images_of_runs(runs):
    """The data set that runs were trained on.

    Args:
        runs: A list of `RunDirectory`.

    Returns:
        A `ddnn_keras.data.ImageData`, with the same split into training and validation images.

    Raises:
        FileNotFoundError: If one of them is no run.
        ValueError: If they had not all the same images.
    """
    first, *others = (train.saved_arguments(run.read_config()) for run in runs)
    for run, arguments in zip(runs[1:], others):
        for name in OF_THE_DATA:
            if arguments[name] != first[name]:
                raise ValueError(
                    f"{run.path} must have the {name} of {runs[0].path}, {first[name]}. Received: {arguments[name]}"
                )
    return train.load_images(argparse.Namespace(**first))
