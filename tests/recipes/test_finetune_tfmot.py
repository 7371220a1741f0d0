import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from conftest import ROOT, python

from ddnn_keras.runtime.metadata import read_metadata
from ddnn_keras.runtime.tflite_file import parse

SCRIPT = "recipes/finetune_tfmot.py"


# Calls the script with one command line after another in one process.
COMMANDS = """
import json, runpy, sys
script, *texts = sys.argv[1:]
for text in texts:
    sys.argv = [script, *json.loads(text)]
    runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def files(finished_run, tmp_path_factory):
    """The int8 files of depth 10 after each technique, an epoch a step."""
    output = tmp_path_factory.mktemp("finetuned")
    techniques = {
        "cluster": ["--clusters", 8],
        "prune_cluster": ["--sparsity", 0.9],  # a small layer keeps fewer weights than clusters
    }
    common = ["--run", finished_run, "--depth", 10, "--epochs", 1, "--output", output]
    commands = [[*common, "--technique", name, *more] for name, more in techniques.items()]
    texts = [json.dumps([*map(str, words)]) for words in commands]
    printed = python(COMMANDS, ROOT / SCRIPT, *texts)
    assert printed.count("Verified: ") == 2 and "gzipped" in printed
    return {name: output / f"depth_10_{name}_int8.tflite" for name in techniques}


def kernels(path):
    """The int8 kernels of a file's convolutions, one row for each output channel."""
    tree = parse(path)
    (graph,) = tree.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in tree.operatorCodes]
    convolutions = [node for node in graph.operators if codes[node.opcodeIndex] == schema.BuiltinOperator.CONV_2D]
    tensors = [graph.tensors[node.inputs[1]] for node in convolutions]
    return [np.frombuffer(tree.buffers[t.buffer].data, "int8").reshape(t.shape[0], -1) for t in tensors]


@pytest.mark.slow
@pytest.mark.parametrize(("technique", "sparsity", "clusters"), [("cluster", 0, 8), ("prune_cluster", 0.9, 16)])
def test_zeros_and_clusters_outlast_what_follows_them(files, technique, sparsity, clusters):
    for kernel in kernels(files[technique]):
        if sparsity:
            assert np.mean(kernel == 0) > sparsity - 0.05
        # Up to rounding: a cluster's value is another number of steps in each channel, but one in a channel.
        assert max(np.unique(channel).size for channel in kernel) <= clusters


@pytest.mark.slow
def test_what_the_file_says_of_it(files):
    path = files["prune_cluster"]
    facts = read_metadata(path)
    assert facts["fine_tuning"]["sparsity"] == 0.9
    assert facts["depths"]["serving_default"]["depth"] == 10
    assert facts["source"] == "digits/model.keras"
    # The other file is to_tflite.py's, which this script leaves alone.
    assert {file.stem for file in path.parent.iterdir()} == {file.stem for file in files.values()}


# A teacher that names another class for each image than the label, which is 0.
LESSONS = """
import argparse
import numpy as np, tensorflow as tf, tf_keras
from ddnn_keras.tflite import model_optimization
images = np.eye(4, dtype="float32").reshape(4, 2, 2, 1)
batches = tf.data.Dataset.from_tensors((images, np.zeros(4, "int64"))).repeat()
full_net = lambda images, training: 10 * tf.reshape(images, (-1, 4))
lessons = model_optimization.taught(batches, full_net, [1.0] * 4)
*_, weights = next(iter(model_optimization.taught(batches, full_net, [7.0, 2, 3, 4])))
print("found", *weights.numpy())
for kl_weight in (0.0, 10.0):
    model = tf_keras.Sequential([tf_keras.layers.Flatten(), tf_keras.layers.Dense(4)])
    settings = argparse.Namespace(kl_weight=kl_weight, learning_rate=0.05, epochs=1)
    model_optimization.fit(model, lessons, settings, 200, [])
    print("found", *model.predict(images, verbose=0).argmax(-1))
settings.learning_rate = 1e38
try:
    model_optimization.fit(model, lessons, settings, 200, [])
except ValueError as error:
    print("found", error)
"""


@pytest.mark.slow
def test_the_full_net_teaches_and_a_diverged_training_ends():
    found = [line for line in python(LESSONS).splitlines() if line.startswith("found")]
    assert found[:3] == ["found 7.0 7.0 7.0 7.0", "found 0 0 0 0", "found 0 1 2 3"]
    assert found[3:] == ["found The loss is not finite any more. A smaller --learning-rate may help."]


@pytest.mark.parametrize(
    ("depth", "flags", "sentence"),
    [
        (99, ["prune"], "--depth must be one of 10, 18, which the network holds. Received: 99"),
        (10, ["prune", "--sparsity", 1], "--sparsity must be less than 1. Received: 1.0"),
        (10, ["cluster", "--clusters", 1], "--clusters must be 2 or more with cluster. Received: 1"),
        (10, ["prune_cluster", "--clusters", 2], "--clusters must be 3 or more with prune_cluster. Received: 2"),
    ],
)
def test_mistakes(finished_run, mistake, depth, flags, sentence):
    assert sentence in mistake(SCRIPT, "--run", finished_run, "--depth", depth, "--technique", *flags)
