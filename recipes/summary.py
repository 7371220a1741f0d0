"""Shows what came out of a run: each depth's test accuracy, and size and time of its verified .tflite files.

For example:

    python recipes/summary.py                    # the newest run
    python recipes/summary.py --run runs/digits_...
"""

import json
import shlex

from ddnn_keras.command_line import ArgumentParser, print_table, run
from ddnn_keras.depths import output_key
from ddnn_keras.runs.run_directory import RunDirectory
from ddnn_keras.runtime.metadata import named_depths, read_metadata

parser = ArgumentParser(__doc__)
parser.add_argument("--run", help="the directory of a finished run; by default the newest in runs/")


def main(arguments):
    run_directory = RunDirectory(arguments.run) if arguments.run else RunDirectory.newest(holding="metrics")
    if not run_directory.metrics.is_file():
        raise ValueError(f"--run must be a finished run. Received: {run_directory.path}")
    split = run_directory.read_config()["arguments"]["evaluate_on"]
    metrics = json.loads(run_directory.metrics.read_text())
    folder = run_directory.path / "tflite"
    files = {path: read_metadata(path) for path in sorted(folder.glob("*.tflite"))}
    single = {}
    for path, facts in files.items():
        if len(facts["signatures"]) == 1:
            (key,) = map(output_key, named_depths(facts).values())
            # What its name says behind the depth, such as int8_mixed.
            kind = path.stem.removeprefix(key).strip("_") or "float32"
            single.setdefault(kind, {})[key] = path
    kinds = sorted(single, key=lambda kind: (kind != "float32", kind))
    headers = ["depth", f"{split} accuracy"]
    for kind in kinds:
        headers += [f"{kind} accuracy", "MB", "ms"]
    rows = []
    for key, row in metrics.items():
        rows.append([key.removeprefix("depth_"), f"{row['accuracy']:.2%}"])
        for kind in kinds:
            path = single[kind].get(key)
            rows[-1] += figures(path, files[path]) if path else ["", "", ""]
    print_table(headers, rows)
    for path, facts in files.items():
        if len(facts["signatures"]) > 1:
            print(f"All depths in one file: {path}, {megabytes(path)} MB")
    print(f"Next: {next_command(run_directory, list(files), list(folder.glob('sample_*.png')))}")


def figures(path, facts):
    """What the table shows of a file: accuracy, MB and milliseconds per image."""
    (signature,) = facts["signatures"].values()
    found = signature["verification"]
    return [f"{found['accuracy']:.2%}", megabytes(path), f"{found['milliseconds_per_image']:.2f}"]


def megabytes(path):
    """The size of a file in MB."""
    return f"{path.stat().st_size / 1e6:.2f}"


def next_command(run_directory, files, samples):
    """What one would do next: try a file on a picture, or export one."""
    if files and samples:
        file = next((path for path in files if path.name.startswith("bundle")), files[0])
        return shlex.join(["python", "export/run_tflite.py", str(file), str(samples[0])])
    return shlex.join(["python", "export/to_tflite.py", "--depth", "all", "--model", str(run_directory.model)])


if __name__ == "__main__":
    run(main, parser)
