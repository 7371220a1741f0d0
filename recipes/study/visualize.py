"""Draws what every depth attends to: the attention maps of each stage, of one or several runs.

For example, before and after EKD:

    python recipes/study/visualize.py runs/joint runs/ekd --output attention.png

Each map is the sum of a stage's features over channels, standardized over positions, which is what EKD compares. Above
it stands its correlation with the full-net's map of the same stage, the mean over up to 500 validation images.
"""

import itertools

import numpy as np

from ddnn_keras.atomic_write import write_figure
from ddnn_keras.command_line import ArgumentParser, non_negative_integer, run
from ddnn_keras.runs.run_directory import RunDirectory

CORRELATION_IMAGES = 500
BATCH = 100

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("runs", nargs="+", metavar="RUN", help="run directories of train.py, on the same data")
add("--image", type=non_negative_integer, default=0, help="number of the validation image")
add("--output", default="attention.png", help="the picture")


def main(arguments):
    """Draws the picture."""
    from ddnn_keras.runs.earlier_runs import images_of_runs

    runs = [RunDirectory(path) for path in arguments.runs]
    batches = itertools.islice(images_of_runs(runs).validation(BATCH), CORRELATION_IMAGES // BATCH)
    images = np.concatenate([np.asarray(images) for images, _ in batches])
    if arguments.image >= len(images):
        raise ValueError(f"--image must be from 0 to {len(images) - 1}. Received: {arguments.image}")
    rows = [row for directory in runs for row in attention_rows(directory, images)]
    write_figure(arguments.output, picture(images[arguments.image], arguments.image, rows))
    print(f"Picture: {arguments.output}")


def attention_rows(directory, images):
    """For each depth of a run: its label, and for each stage all images' maps and their correlation."""
    import keras

    from ddnn_keras.distillation import standardized_attention
    from ddnn_keras.runs.checkpoint import load_network

    model = load_network(directory.model)
    symbolic = {key: list(map(standardized_attention, stages)) for key, stages in model.features(model.input).items()}
    maps = keras.Model(model.input, symbolic).predict(images, batch_size=BATCH, verbose=0)
    full_net = maps[model.output_keys[-1]]
    rows = []
    for key in model.output_keys:
        label = f"{directory.path.resolve().name}\n{key.replace('_', ' ')}"
        # Of standardized maps, the mean product is the mean over images of Pearson's correlation.
        rows.append((label, [(stage, float(np.mean(stage * of))) for stage, of in zip(maps[key], full_net)]))
    return rows


def picture(image, number, rows):
    """The image and the maps of it: a row for each depth of each run."""
    from matplotlib.figure import Figure

    columns = 1 + max(len(stages) for _, stages in rows)
    figure = Figure(figsize=(1.7 * columns, 1.9 * len(rows)), layout="constrained")
    for axes, (label, stages) in zip(figure.subplots(len(rows), columns, squeeze=False), rows):
        axes[0].imshow(image / 255 if image.shape[-1] == 3 else image.mean(-1), cmap="gray")
        axes[0].set_ylabel(label, fontsize="small")
        for stage, (axis, (maps, r)) in enumerate(zip(axes[1:], stages)):
            axis.imshow(maps[number])
            # A map of one position has nothing to correlate.
            title = f"stage {stage + 1}" + (f", r = {r:.2f}" if maps[number].size > 1 else "")
            axis.set_title(title, fontsize="small")
        for axis in axes:
            axis.set(xticks=[], yticks=[])
    return figure


if __name__ == "__main__":
    run(main, parser)
