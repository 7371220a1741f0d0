"""Depths: names for numbers of blocks per stage, and the keys of their outputs."""

import itertools
import numbers
import re
from collections.abc import Iterable, Mapping

import numpy as np


def output_key(name):
    """The name of a depth's output and classifier: `"depth_18"` for the depth `18`, `"depth_tiny"` for `"tiny"`.

    Example:
    >>> output_key(18)
    'depth_18'
    """
    return f"depth_{name}"


def resolve_depths(depths, known):
    """Turns the `depths` argument of a `DDNN` into blocks per stage, from the shallowest to the deepest.

    `known` is the depth table of a backbone. A single known depth may stand alone.

    Example:
    >>> resolve_depths((34, 18), known={18: (2, 2, 2, 2), 34: (3, 4, 6, 3)})
    {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
    """
    pairs = list(depths.items()) if isinstance(depths, Mapping) else _look_up(without_numpy(depths), known)
    pairs = [(name, without_numpy(blocks)) for name, blocks in pairs]
    if not pairs:
        raise ValueError(f"`depths` must name at least one depth. Received: depths={depths!r}")
    num_stages = len(next(iter(known.values())))
    for name, blocks in pairs:
        # Names become layer names, metric names and TFLite signatures.
        if not is_name(name) or not re.fullmatch(r"\w+", str(name), flags=re.ASCII):
            raise ValueError(
                f"A depth's name must be an integer or a string of letters, digits and underscores. Received: {name!r}"
            )
        wellformed = isinstance(blocks, tuple | list) and len(blocks) == num_stages
        if not wellformed or not all(map(is_positive_integer, blocks)):
            raise ValueError(f"Depth {name!r} must have {num_stages} stages of at least 1 block. Received: {blocks!r}")
    # Names go into JSON, which takes no NumPy integers.
    pairs = [(name if isinstance(name, str) else int(name), tuple(blocks)) for name, blocks in pairs]
    pairs.sort(key=lambda pair: (sum(pair[1]), pair[1]))
    for (shallow_name, shallow_blocks), (deep_name, deep_blocks) in itertools.pairwise(pairs):
        if shallow_blocks == deep_blocks:
            raise ValueError(
                f"`depths` must not repeat a depth. Received: {shallow_name!r} and {deep_name!r}, both {deep_blocks}"
            )
        if any(count > limit for count, limit in zip(shallow_blocks, deep_blocks)):
            raise ValueError(
                f"The depths of one network must nest, stage by stage. Received: {shallow_name!r} {shallow_blocks}, "
                f"which does not fit into {deep_name!r} {deep_blocks}"
            )
    return dict(pairs)


def check_within(blocks, full_net):
    """Raises a `ValueError` unless `blocks` are blocks per stage of a sub-net of `full_net`."""
    wellformed = len(blocks) == len(full_net) and all(map(is_positive_integer, blocks))
    if not wellformed or any(count > limit for count, limit in zip(blocks, full_net)):
        raise ValueError(
            f"`depth` must be blocks per stage, from {(1,) * len(full_net)} to {full_net}. Received: depth={blocks!r}"
        )


def is_positive_integer(value):
    """Whether `value` is an integer of 1 or more, of Python or NumPy. `True` is not."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 1


def is_name(value):
    """Whether `value` may name a depth: a string or an integer, of Python or NumPy."""
    return isinstance(value, str | numbers.Integral) and not isinstance(value, bool)


def without_numpy(value):
    """Turns NumPy's arrays and numbers into Python's. Returns anything else unchanged."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _look_up(depths, known):
    depths = tuple(depths) if isinstance(depths, Iterable) and not isinstance(depths, str | bytes) else (depths,)
    for depth in depths:
        if not is_name(depth) or depth not in known:
            raise ValueError(
                f"Unknown depth {depth!r} in `depths`: known depths are {', '.join(map(str, known))}; "
                f'any other takes a mapping to blocks per stage, such as {{"mine": {next(iter(known.values()))}}}.'
            )
    return [(depth, known[depth]) for depth in depths]
