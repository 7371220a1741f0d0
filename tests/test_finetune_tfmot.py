"""recipes/finetune_tfmot.py: what its techniques leave in the files."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from ddnn_keras.tflite.flatbuffer import parse
from ddnn_keras.tflite.metadata import read_metadata

# One worker makes what these tests share.
pytestmark = pytest.mark.xdist_group("run")

SCRIPT = "recipes/finetune_tfmot.py"


@pytest.fixture
def finetune(finished_run, tmp_path, script):
    """Fine-tunes depth 10 for an epoch a step; the file that was written."""

    def run(technique, *flags):
        output = ["--output", tmp_path, "--epochs", 1]
        finished = script(SCRIPT, "--run", finished_run, "--depth", 10, "--technique", technique, *flags, *output)
        assert finished.returncode == 0, finished.stderr
        assert "as trained" in finished.stdout and "gzipped" in finished.stdout
        return tmp_path / f"depth_10_{technique}_int8.tflite"

    return run


def kernels(path):
    """The int8 kernels of a file's convolutions, one row for each output channel."""
    tree = parse(path)
    (graph,) = tree.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in tree.operatorCodes]
    convolutions = [node for node in graph.operators if codes[node.opcodeIndex] == schema.BuiltinOperator.CONV_2D]
    tensors = [graph.tensors[node.inputs[1]] for node in convolutions]
    return [np.frombuffer(tree.buffers[t.buffer].data, "int8").reshape(t.shape[0], -1) for t in tensors]


def test_pruning(finetune):
    path = finetune("prune", "--sparsity", 0.5)
    for kernel in kernels(path):
        assert np.mean(kernel == 0) > 0.45
    facts = read_metadata(path)
    assert facts["fine_tuning"]["sparsity"] == 0.5
    assert facts["depths"]["serving_default"]["depth"] == 10
    before = kernels(path.with_name("depth_10_int8.tflite"))
    assert np.mean(np.concatenate([kernel.ravel() for kernel in before]) == 0) < 0.2


@pytest.mark.slow
def test_zeros_clusters_and_rounding_in_turns(finetune):
    path = finetune("prune_cluster_qat", "--sparsity", 0.4, "--clusters", 8)
    for kernel in kernels(path):
        assert np.mean(kernel == 0) > 0.35
        # Up to rounding: a cluster's value is another number of steps in each channel, but one in a channel.
        assert max(np.unique(channel).size for channel in kernel) <= 8


@pytest.mark.slow
@pytest.mark.parametrize("technique", ["qat", "cluster", "prune_qat", "cluster_qat", "prune_cluster"])
def test_every_technique_gives_a_verified_file(finetune, technique):
    assert finetune(technique).exists()


def test_mistakes(finished_run, script, tmp_path):
    run = ["--run", finished_run]
    for flags, sentence in [
        ([*run, "--depth", 99, "--technique", "prune"], "--depth must be one of 10, 18, which the network holds"),
        ([*run, "--depth", 10, "--technique", "qat", "--quantize", "none"], "--quantize must be int8 with qat"),
        (["--run", tmp_path, "--depth", 10, "--technique", "qat"], "holds no run"),
        ([*run, "--depth", 10, "--technique", "prune", "--sparsity", 1], "1 is not less than 1"),
    ]:
        finished = script(SCRIPT, *flags)
        assert finished.returncode == 2
        assert sentence in finished.stderr.splitlines()[-1]
        assert "Traceback" not in finished.stderr
