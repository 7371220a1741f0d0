"""Writes a data set as one `.npz` file, for machines that have no TensorFlow.

For example:

    python recipes/save_npz.py --dataset fashion_mnist --output fashion_mnist.npz
    KERAS_BACKEND=jax python recipes/train.py --dataset npz:fashion_mnist.npz
"""

import pathlib
import shlex

import numpy as np

from ddnn_keras.atomic_write import atomic_write
from ddnn_keras.command_line import ArgumentParser, run

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("--dataset", dest="name", required=True, help="a TensorFlow Datasets name, or folder:PATH with images of one size")
add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
add("--manual-dir", help="where archives lie that were downloaded by hand")
add("--output", required=True, help="the file")


def main(arguments):
    output = pathlib.Path(arguments.output)
    if output.suffix != ".npz":
        raise ValueError(f"--output must end in .npz. Received: {output}")
    # Here, because this import takes seconds.
    from ddnn_keras.data.loading import read_source

    source = read_source(arguments.name, arguments.data_dir, arguments.manual_dir)
    if source.decode:
        raise ValueError(f"--dataset {arguments.name} is too large for memory, or its images differ in size.")
    # Who reads the file holds out validation images again.
    x_train, y_train = (
        np.concatenate([getattr(split, name) for split in (source.train, source.validation)])
        for name in ("images", "labels")
    )
    arrays = {"x_train": x_train, "y_train": y_train, "x_test": source.test.images, "y_test": source.test.labels}
    with atomic_write(output) as temporary:
        np.savez_compressed(temporary, **arrays, class_names=np.array(source.class_names), mirror=source.mirror)
    print(f"{output}: {len(x_train)} training and {len(source.test)} test images, {output.stat().st_size / 1e6:.1f} MB")
    print(f"Next: KERAS_BACKEND=jax python recipes/train.py --dataset {shlex.quote(f'npz:{output}')}")


if __name__ == "__main__":
    run(main, parser)
