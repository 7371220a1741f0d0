"""A 1x1 convolution whose number of channels depends on the depth, as in a DenseNet.

The kernel of a shallow depth is a part of the deeper ones'. So a kernel is made of pieces: those of the shallowest
depth, and those that each deeper depth adds in rows (input channels) and columns (output channels).
"""

import itertools
import math
import zlib

import keras
import numpy as np
from keras import ops


def nested_convolution(path, x, segments, filters, name):
    """A 1x1 convolution without bias that shares its kernel with shallower paths.

    `segments` are the numbers of channels of the parts that `x` is made of. A deeper path has the same parts with at
    least as many channels.
    """
    rows = []
    for number, channels in enumerate(segments):
        if channels:
            kernel = path.shared(NestedKernel, f"{name}_{number}", seed=path.seed(f"{name}_{number}"))
            rows += kernel.up_to(channels, filters)
    return path.private(NestedConvolution, name, pieces=rows)(x)


class NestedKernel:
    """A kernel that grows as deeper depths ask for more of it. The initial weights depend on `seed`, an integer."""

    def __init__(self, name, dtype, seed):
        self._name, self._dtype, self._seed = name, dtype, seed
        self._rows, self._columns = [0], [0]
        self._pieces = {}

    def up_to(self, rows, columns):
        """The pieces of the first rows and columns: a list of lists of `KernelPiece`."""
        row_spans, column_spans = spans(self._rows, rows), spans(self._columns, columns)
        return [[self._piece(down, across, columns) for across in column_spans] for down in row_spans]

    def _piece(self, rows, columns, fan_out):
        if (rows, columns) not in self._pieces:
            name = f"{self._name}_rows_{rows[0]}_columns_{columns[0]}"
            shape = (rows[1] - rows[0], columns[1] - columns[0])
            # With one seed for all, pieces would begin as copies of each other.
            seed = zlib.crc32(f"{self._seed} {name}".encode())
            self._pieces[rows, columns] = KernelPiece(*shape, fan_out, seed=seed, dtype=self._dtype, name=name)
        return self._pieces[rows, columns]


def spans(ends, last):
    """The pairs of neighbours among `ends` up to `last`. Appends `last` to `ends` if it is beyond them."""
    if last > ends[-1]:
        ends.append(last)
    return [pair for pair in itertools.pairwise(ends) if pair[1] <= last]


@keras.saving.register_keras_serializable("ddnn_keras")
class KernelPiece(keras.layers.Layer):
    """Some rows (input channels) and columns (output channels) of a kernel, which has `fan_out` columns in all."""

    def __init__(self, rows, columns, fan_out, seed=None, **kwargs):
        super().__init__(**kwargs)
        self._arguments = {"rows": rows, "columns": columns, "fan_out": fan_out, "seed": seed}
        initializer = keras.initializers.RandomNormal(stddev=math.sqrt(2 / fan_out), seed=seed)
        self.kernel = self.add_weight(name="kernel", shape=(1, 1, rows, columns), initializer=initializer)
        self.built = True

    def get_config(self):
        """The constructor's arguments."""
        return {**super().get_config(), **self._arguments}


@keras.saving.register_keras_serializable("ddnn_keras")
class NestedConvolution(keras.layers.Layer):
    """A 1x1 convolution with a kernel made of `pieces`, a list of rows, which are lists of `KernelPiece`."""

    def __init__(self, pieces, **kwargs):
        super().__init__(**kwargs)
        self.pieces = pieces

    @property
    def kernel(self):
        """The whole kernel, shape `(1, 1, input channels, output channels)`."""
        rows = [ops.concatenate([piece.kernel for piece in row], axis=3) for row in self.pieces]
        return ops.concatenate(rows, axis=2)

    def get_weights(self):
        """The whole kernel, as of any convolution."""
        return [ops.convert_to_numpy(self.kernel)]

    def set_weights(self, weights):
        """Gives the pieces their parts of a whole kernel."""
        (kernel,) = weights
        heights = [row[0].kernel.shape[2] for row in self.pieces]
        widths = [piece.kernel.shape[3] for piece in self.pieces[0]]
        for row, part in zip(self.pieces, np.split(kernel, np.cumsum(heights)[:-1], axis=2)):
            for piece, values in zip(row, np.split(part, np.cumsum(widths)[:-1], axis=3)):
                piece.kernel.assign(values)

    def call(self, inputs):
        """The convolution."""
        return ops.conv(inputs, self.kernel, padding="valid", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        """As many channels as the kernel has columns."""
        return (*input_shape[:-1], sum(piece.kernel.shape[3] for piece in self.pieces[0]))

    def get_config(self):
        """The constructor's arguments."""
        pieces = [[keras.saving.serialize_keras_object(piece) for piece in row] for row in self.pieces]
        return {**super().get_config(), "pieces": pieces}

    @classmethod
    def from_config(cls, config):
        """Makes the layer that `get_config` describes, with pieces of its own."""
        pieces = [
            [KernelPiece.from_config({**piece["config"], "dtype": config["dtype"]}) for piece in row]
            for row in config["pieces"]
        ]
        return cls(**{**config, "pieces": pieces})
