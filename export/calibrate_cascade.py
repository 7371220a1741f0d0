"""Finds the confidence at which a shallow depth of a bundle may answer alone, on the run's validation images.

For example:

    python export/to_tflite.py --depth all --bundle --quantize int8
    python export/calibrate_cascade.py runs/digits_.../tflite/bundle_int8.tflite
"""

import argparse
import pathlib

from ddnn_keras.atomic_write import write_json
from ddnn_keras.command_line import ArgumentParser, non_negative_number, print_table, run
from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.cascade import answers

BATCH = 500

parser = ArgumentParser(__doc__)
add = parser.add_argument
add("bundle", help="a .tflite file of several depths", default=argparse.SUPPRESS)
add("--model", help="the .keras file of the bundle; by default that of the run in the folder above")
add("--accuracy", type=non_negative_number, help="to reach, such as 0.9; by default the deepest depth's own")
add("--dataset", help="data; by default the run's own")
add("--data-dir", help="where TensorFlow Datasets keeps prepared data sets")
add("--manual-dir", help="where archives lie that were downloaded by hand")


def main(arguments):
    from ddnn_keras.runs.earlier_runs import images_of_network, network_of_file

    bundle = pathlib.Path(arguments.bundle)
    runtime = Runtime(bundle)
    path = network_of_file(bundle, arguments.model)
    images = images_of_network(path, arguments, runtime.image_shape, len(runtime.labels))
    validation = answers(runtime, images.validation(BATCH))
    full_net = {runtime.depths[-1]: 0.0}
    accuracy = arguments.accuracy
    if accuracy is None:
        accuracy, _ = validation.accuracy_and_cost(full_net)
    thresholds = validation.cheapest_thresholds(accuracy)
    test = answers(runtime, images.test(BATCH))
    rows = []
    for name, chosen in {**{f"depth {depth}": {depth: 0.0} for depth in runtime.depths}, "cascade": thresholds}.items():
        (validated, _), (tested, cost) = validation.accuracy_and_cost(chosen), test.accuracy_and_cost(chosen)
        rows.append([name, f"{validated:.2%}", f"{tested:.2%}", f"{cost:.2f}"])
    print_table(["", f"validation ({images.num_validation})", f"test ({images.num_test})", "cost / deepest's"], rows)
    target = bundle.with_suffix(".cascade.json")
    write_json(target, list(thresholds.items()))
    print(f"Thresholds: {target} {thresholds}")


if __name__ == "__main__":
    run(main, parser)
