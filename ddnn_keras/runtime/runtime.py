"""Runs a bundle on a device, at the depth that is wanted or that the device can afford now.

NumPy and ai_edge_litert are all it needs.
"""

import dataclasses
import numbers
import statistics
import threading
import time

import numpy as np

from ddnn_keras.pixels import checked_images
from ddnn_keras.runtime.interpreter import lite_models
from ddnn_keras.runtime.latency_budget import WINDOW, LatencyBudget
from ddnn_keras.runtime.metadata import named_depths, read_metadata
from ddnn_keras.runtime.tflite_file import description

WARM_UP, TIMED = 3, 9  # runs of each depth; the first ones allocate and fill caches


@dataclasses.dataclass(frozen=True, eq=False)  # arrays compare element by element
class Prediction:
    """What a network says of an image.

    Args:
        depth: The depth that answered.
        label: The likeliest class's name.
        probabilities: An array of shape `(classes,)`.
        milliseconds: How long the network took, or all networks that were asked.
    """

    depth: object
    label: str
    probabilities: np.ndarray
    milliseconds: float

    @property
    def confidence(self):
        """The likeliest class's probability."""
        return float(self.probabilities.max())


class Runtime:
    """A bundle of several depths, as a function from an image to a class.

    It may be called from several threads, which then take turns. For images at the same time, open one for each thread;
    each takes memory of its own, as interpreters rearrange weights for their kernels.

    Args:
        model: The path of a bundle, a file that `export/to_tflite.py --bundle` wrote, or its bytes.
        num_threads: Number of CPU threads, a positive integer. Defaults to `1`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole bundle, or an argument is not as above.

    Example:
    >>> runtime = Runtime("bundle_int8.tflite")  # doctest: +SKIP
    >>> runtime.predict(image, depth=18).label  # doctest: +SKIP
    'cat'
    >>> runtime.predict(image, budget_ms=8).depth  # doctest: +SKIP
    34
    """

    def __init__(self, model, num_threads=1):
        facts, networks = read_metadata(model), lite_models(model, num_threads)
        depths = named_depths(facts)
        if not depths or not networks.keys() >= depths.keys():
            raise ValueError(
                f"`model` must be a file that names the depths of its signatures, {', '.join(networks)}. "
                f"Received: {description(model)}, which names {depths}"
            )
        self._networks = {depth: networks[signature] for signature, depth in depths.items()}
        self._labels = facts.get("labels") or list(map(str, range(self._any.output.shape[-1])))
        self._lock = threading.Lock()
        self._budget = None

    @property
    def depths(self):
        """The depths of the bundle, the shallowest first."""
        return list(self._networks)

    @property
    def image_shape(self):
        """The `(height, width, channels)` of an image."""
        return self._any.input.shape[1:]

    @property
    def labels(self):
        """The names of the classes."""
        return list(self._labels)

    @property
    def latencies(self):
        """What each depth takes on this device: a dict from depths to milliseconds, measured at the first use."""
        with self._lock:
            return dict(self._measured().latencies)

    def predict(self, image, depth=None, budget_ms=None):
        """Classifies an image.

        Args:
            image: Raw pixels 0..255, shape `(height, width, channels)`.
            depth: Which depth to use, one of `depths`. Defaults to the deepest, if `budget_ms` is not given either.
            budget_ms: Instead of `depth`, the milliseconds that the network may take. The deepest depth that fits is
                used. The first such call measures every depth once. From then on each run tells how fast the device is
                now, and the depth follows (`ddnn_keras.runtime.latency_budget`). A budget may move by a tenth from call
                to call. Callers with quite different budgets need a `Runtime` each.

        Returns:
            A `Prediction`, which tells the depth. Under a budget that a slowed-down device cannot keep at any depth,
            the shallowest answers.

        Raises:
            ValueError: If an argument is not as above, or the budget is less than the shallowest depth takes at best.
        """
        image = np.asarray(image)
        if image.shape != self.image_shape:
            raise ValueError(f"`image` must have the shape {self.image_shape}. Received: {image.shape}")
        image = checked_images("image", image[np.newaxis], self.image_shape)
        if depth is not None and budget_ms is not None:
            raise ValueError(f"`depth` or `budget_ms` must be given, not both. Received: {depth!r} and {budget_ms!r}")
        if budget_ms is not None and not isinstance(budget_ms, numbers.Real):
            raise ValueError(f"`budget_ms` must be a number of milliseconds. Received: budget_ms={budget_ms!r}")
        with self._lock:
            if budget_ms is not None:
                depth = self._affordable(image, budget_ms)
            return self._run(image, self.depths[-1] if depth is None else self._checked(depth))

    def logits(self, images, depth):
        """Logits of many images at one depth, to calibrate with.

        Args:
            images: Raw pixels 0..255, shape `(n, height, width, channels)`.
            depth: One of `depths`.

        Returns:
            A float32 array of shape `(n, classes)`.
        """
        with self._lock:
            return self._networks[self._checked(depth)](images)

    @property
    def _any(self):
        return next(iter(self._networks.values()))

    def _checked(self, depth):
        known = [known for known in self.depths if np.ndim(depth) == 0 and known == depth]
        if not known:
            raise ValueError(f"`depth` must be one of {', '.join(map(str, self.depths))}. Received: depth={depth!r}")
        return known[0]

    def _run(self, image, depth):
        network = self._networks[depth]
        encoded = network.input.encode(image)
        start = time.perf_counter()
        result = network.invoke(encoded)
        milliseconds = 1000 * (time.perf_counter() - start)
        if self._budget:
            self._budget.observe(depth, milliseconds)
        probabilities = softmax(network.output.decode(result)[0])
        return Prediction(depth, self._labels[probabilities.argmax()], probabilities, milliseconds)

    def _affordable(self, image, budget_ms):
        """The depth for a budget."""
        budget = self._measured()
        if 0 < budget_ms < budget.smallest:
            # The device may have been slow when it was measured, as it often is while an app starts.
            for _ in range(WINDOW):
                self._run(image, self.depths[0])
        return budget.choose(budget_ms)

    def _measured(self):
        if self._budget is None:
            image = np.zeros((1, *self.image_shape), "float32")
            for _ in range(WARM_UP):
                for depth in self.depths:
                    self._run(image, depth)
            # In turns, so that whatever disturbs the device meanwhile meets all depths alike.
            runs = [[self._run(image, depth).milliseconds for depth in self.depths] for _ in range(TIMED)]
            self._budget = LatencyBudget(dict(zip(self.depths, map(statistics.median, zip(*runs)))))
        return self._budget


def softmax(logits):
    """Probabilities, along the last axis.

    Example:
    >>> softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
