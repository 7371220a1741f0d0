"""Compares an integer file with its float network: which layers cost the accuracy, and what each depth loses.

For example:

    python export/to_tflite.py --depth all --bundle --quantize int8
    python export/quantization_report.py runs/digits_.../tflite/bundle_int8.tflite
"""

import argparse
import dataclasses
import pathlib

from ddnn_keras.atomic_write import write_csv, write_figure
from ddnn_keras.command_line import ArgumentParser, positive_integer, print_table, run
from ddnn_keras.runtime.metadata import named_depths, read_metadata

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("file", metavar="INTEGER.tflite", help="an int8 or int16x8 file", default=argparse.SUPPRESS)
add("--model", help="the .keras file of the network; by default that of the run in the folder above")
add("--images", type=positive_integer, default=100, help="test images on which layers are compared, at most")
add("--worst", type=positive_integer, default=5, help="how many layers of each depth to print")
add("--dataset", help="data; by default the run's own")
add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
add("--manual-dir", help="where archives lie that were downloaded by hand")


def main(arguments):
    path = pathlib.Path(arguments.file)
    facts = read_metadata(path)
    if facts["quantize"] not in ("int8", "int16x8"):
        raise ValueError(f"INTEGER.tflite must be int8 or int16x8. Received: {path}, which is {facts['quantize']}")
    if "fine_tuning" in facts:
        raise ValueError(f"INTEGER.tflite must be of to_tflite.py. The network of {path} was fine-tuned and not kept.")
    errors = errors_of_depths(path, facts, arguments)
    rows = []
    for depth, found in errors.items():
        for layer in sorted(found, key=lambda layer: layer.added, reverse=True)[: arguments.worst]:
            rows.append([depth, layer.name, f"{layer.snr:.1f}", f"{layer.added:.1e}", f"{layer.cut_off:.2%}"])
    print_table(["depth", "layer", "SNR, dB", "noise added", "cut off"], rows)
    rows = []
    for signature, depth in named_depths(facts).items():
        numbers = facts["signatures"][signature]["verification"]
        accuracies = numbers["keras_accuracy"], numbers["accuracy"]
        rows.append([depth, *(f"{value:.2%}" for value in (*accuracies, numbers["argmax_agreement"]))])
    print_table(["depth", "Keras accuracy", "accuracy", "same class"], rows)
    rows = ([depth, *dataclasses.astuple(layer)] for depth, found in errors.items() for layer in found)
    write_csv(path.with_suffix(".layers.csv"), ["depth", "layer", "snr", "added", "cut_off"], rows)
    draw(errors, path.with_suffix(".layers.png"))
    print(f"All layers: {path.with_suffix('.layers.csv')}, {path.with_suffix('.layers.png')}")


def errors_of_depths(path, facts, arguments):
    """The `LayerError`s of every depth: a dict."""
    from ddnn_keras.quantization_aware import copied, is_quantization_aware
    from ddnn_keras.runs.checkpoint import load_network
    from ddnn_keras.runs.earlier_runs import images_of_network, network_of_file
    from ddnn_keras.tflite.convert import convert
    from ddnn_keras.tflite.layer_errors import layer_errors

    network = network_of_file(path, arguments.model)
    model = load_network(network, compile=False)
    if is_quantization_aware(model):
        model = copied(model, quantization_aware=False)
    images = images_of_network(network, arguments, model.input_shape[1:], len(facts["labels"]))
    pixels, _ = images.test_sample(min(arguments.images, images.num_test))
    errors = {}
    for signature, depth in named_depths(facts).items():
        subnet = model.subnet(depth)
        errors[depth] = layer_errors(path.read_bytes(), convert(subnet), subnet, pixels, signature)
    return errors


def draw(errors, path):
    """Draws the signal-to-noise ratio along the layers, a line for each depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for depth, found in reversed(errors.items()):  # the deepest has all layers, in their order
        axes.plot([layer.name for layer in found], [layer.snr for layer in found], ".-", label=f"depth {depth}")
    axes.tick_params("x", rotation=90, labelsize=4)
    axes.set(ylabel="signal-to-noise ratio, dB")
    axes.legend()
    write_figure(path, figure, dpi=150)


if __name__ == "__main__":
    run(main, parser)
