"""Training curves, drawn from a run's history."""

import re
from math import isnan, nan

from matplotlib.figure import Figure

from ddnn_keras.atomic_write import write_figure


def draw_curves(history, path):
    """Draws the accuracy of each depth and each loss term as a PNG file; a history that was lost draws nothing."""
    if not history:
        return
    figure = Figure(figsize=(14, 4.5), layout="constrained")
    accuracy, losses = figure.subplots(1, 2)
    draw(accuracy, history, names_ending("accuracy", history))
    draw(losses, history, names_ending("loss", history))
    accuracy.set(title="Accuracy (dashed: training, solid: validation)", xlabel="epoch", ylabel="accuracy")
    losses.set(title="Loss terms (dashed: training, solid: validation)", xlabel="epoch", yscale="log")
    for axes in (accuracy, losses):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        # Beside the lines, which would leave no room for some ten names.
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    write_figure(path, figure)


def draw(axes, history, names):
    """One line for each name's values on training data, and one of the same colour on validation data."""
    epochs = [row["epoch"] + 1 for row in history]
    for color, name in enumerate(names):
        axes.plot(epochs, [row[name] for row in history], "--", color=f"C{color}", alpha=0.6)
        # Epochs without validation would leave gaps that hide the points between them.
        validated = [row for row in history if not isnan(row.get(f"val_{name}", nan))]
        values = [row[f"val_{name}"] for row in validated]
        axes.plot([row["epoch"] + 1 for row in validated], values, color=f"C{color}", label=name.replace("_", " "))


def names_ending(quantity, history):
    """The logged names that end in `quantity`, by depth, without the total and the validation twins."""
    names = [name for name in history[0] if name.endswith(f"_{quantity}") and not name.startswith("val_")]
    # Keras logs them by the alphabet, in which 14 comes before 8.
    names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    # A network of one depth logs its quantities without a prefix.
    return names or [quantity]
