"""Which classes a network takes for which: each depth's recall of every class, and a picture."""

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from ddnn_keras.atomic_write import write_figure

# Of as many classes, figures in the picture's cells can be read.
MOST_WITH_FIGURES = 20


def add_recall(metrics, model, batches, class_names, run_directory):
    """Draws the confusion matrix of each depth, and adds `"recall"`, a dict from class names, to its metrics."""
    labels, predicted = [], {key: [] for key in metrics}
    for images, batch_labels in batches:
        labels += keras.ops.convert_to_numpy(batch_labels).tolist()
        for key, logits in model.predict_on_batch(keras.ops.convert_to_numpy(images)).items():
            predicted[key] += np.argmax(logits, -1).tolist()
    size = max(4, 0.35 * min(len(class_names), 2 * MOST_WITH_FIGURES))
    figure = Figure(figsize=(size * len(metrics), size), layout="constrained")
    for axes, (key, found) in zip(np.atleast_1d(figure.subplots(1, len(metrics))), predicted.items()):
        matrix = confusion_matrix(labels, found, labels=range(len(class_names)))
        counts = matrix.sum(1)
        recall = np.diag(matrix) / np.maximum(counts, 1)
        metrics[key]["recall"] = {name: float(part) for name, part, count in zip(class_names, recall, counts) if count}
        few = len(class_names) <= MOST_WITH_FIGURES
        display = ConfusionMatrixDisplay(matrix, display_labels=class_names if few else None)
        display.plot(ax=axes, include_values=few, xticks_rotation="vertical", colorbar=False, cmap="Blues")
        axes.set_title(key)
    write_figure(run_directory.confusion, figure)
