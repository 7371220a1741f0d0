"""Subsampling as a convolution's stride: a file needs no operator for it."""

from ai_edge_litert.schema_py_generated import BuiltinOperator

from ddnn_keras.runtime.tflite_file import parse, serialize
from ddnn_keras.tflite.weight_sharing import Graph


def with_strides(content):
    """The bytes of a file in which 1x1 convolutions have a stride in place of the 1x1 pooling before them."""
    tree = parse(content)
    for graph in (Graph(tree, subgraph) for subgraph in tree.subgraphs):
        pools = {pool.outputs[0]: pool for pool in graph.operators if is_subsampling(graph, pool)}
        for weighted in graph.weighted_operators():
            operator, pool = weighted.operator, pools.get(weighted.operator.inputs[0])
            is_1x1 = graph.code(operator) == BuiltinOperator.CONV_2D and tuple(weighted.tensor.shape[1:3]) == (1, 1)
            if pool and is_1x1 and operator.builtinOptions.strideW == operator.builtinOptions.strideH == 1:
                operator.inputs = [pool.inputs[0], *operator.inputs[1:]]
                operator.builtinOptions.strideW = pool.builtinOptions.strideW
                operator.builtinOptions.strideH = pool.builtinOptions.strideH
        graph.drop_unused()
    return serialize(tree)


def is_subsampling(graph, operator):
    """Whether an operator only picks positions."""
    options = operator.builtinOptions
    return graph.code(operator) == BuiltinOperator.MAX_POOL_2D and options.filterWidth == options.filterHeight == 1
