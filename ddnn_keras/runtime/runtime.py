"""Runs a bundle on a device, at a chosen depth or at the one that the device can afford now."""

import dataclasses
import statistics
import threading
import time

import numpy as np

from ddnn_keras.pixels import checked_images, warn_of_scaled
from ddnn_keras.runtime.accelerators import lite_models
from ddnn_keras.runtime.latency_budget import WINDOW, LatencyBudget
from ddnn_keras.runtime.metadata import named_depths, read_metadata
from ddnn_keras.runtime.tflite_file import description

WARM_UP, TIMED = 3, 9  # runs of each depth. The first ones allocate memory and fill caches.


@dataclasses.dataclass(frozen=True, eq=False)  # arrays compare element by element
class Prediction:
    """A network's answer for an image.

    Args:
        depth: The depth that answered.
        label: The likeliest class's name.
        probabilities: An array of shape `(classes,)`.
        milliseconds: The network's time. In a cascade, the time of all networks that ran.
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

    Several threads may call it. They take turns. Open one `Runtime` for each thread to run them at the same time. Each
    needs memory of its own.

    Args:
        model: The path of a file from `export/to_tflite.py`, or its bytes.
        num_threads: Number of CPU threads, a positive integer. Defaults to `1`.
        accelerator: What runs the file: LiteRT's Interpreter on the CPU (`None`, the default), or its CompiledModel on
            the `"cpu"`, the `"gpu"` or the `"npu"`. All operators of the file run there. A GPU or NPU must give the
            CPU's logits on one image.

    Attributes:
        image_shape: The `(height, width, channels)` of an image.
        labels: The names of the classes.
        crop_pct: The fraction of an image's shorter side that evaluation showed, see `ddnn_keras.runtime.image_file`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a whole TFLite file that names its depths, or an argument is not as above.
    """

    def __init__(self, model, num_threads=1, accelerator=None):
        facts, networks = read_metadata(model), lite_models(model, num_threads, accelerator)
        if not (depths := named_depths(facts)):
            raise ValueError(f"`model` must be a file that names its depths. Received: {description(model)}")
        self._networks = {depth: networks[signature] for signature, depth in depths.items()}
        self.image_shape = self._networks[self.depths[0]].input.shape[1:]
        self.labels, self.crop_pct = facts["labels"], facts["crop_pct"]
        self._lock = threading.Lock()
        self._budget = None

    @property
    def depths(self):
        """The depths of the bundle, the shallowest first."""
        return list(self._networks)

    @property
    def latencies(self):
        """Each depth's time on this device: a dict from depths to milliseconds. They are measured at the first use."""
        with self._lock:
            return dict(self._measured().latencies)

    def predict(self, image, depth=None, budget_ms=None):
        """Classifies an image.

        Args:
            image: Raw pixels 0..255 in RGB or grey, shape `(height, width, channels)`.
            depth: One of `depths`. Defaults to the deepest if there is no `budget_ms`.
            budget_ms: Instead of `depth`, the milliseconds that the network may take. The deepest depth that fits
                answers. The first such call measures every depth. After that, each run updates how fast the device is
                (`ddnn_keras.runtime.latency_budget`). Use one `Runtime` for each budget. A change of more than a
                tenth is a new budget.

        Returns:
            A `Prediction`. If a device slows down so much that no depth fits, the shallowest answers.

        Raises:
            ValueError: If an argument is not as above, or the budget is below the shallowest depth's best time.
        """
        image = np.asarray(image)
        if image.shape != self.image_shape:
            raise ValueError(f"`image` must have the shape {self.image_shape}. Received: {image.shape}")
        image = checked_images("image", image[np.newaxis], self.image_shape)
        warn_of_scaled("image", image)
        if depth is not None and budget_ms is not None:
            raise ValueError(f"`depth` or `budget_ms` must be given, not both. Received: {depth!r} and {budget_ms!r}")
        with self._lock:
            if budget_ms is not None:
                depth = self._affordable(image, budget_ms)
            return self._run(image, self.depths[-1] if depth is None else depth)

    def logits(self, images, depth):
        """Logits of many images at one depth, to calibrate with.

        Args:
            images: Raw pixels 0..255, shape `(n, height, width, channels)`.
            depth: One of `depths`.

        Returns:
            A float32 array of shape `(n, classes)`.
        """
        with self._lock:
            logits = self._network(depth)(images)
        warn_of_scaled("images", images)
        return logits

    def _network(self, depth):
        if depth not in self._networks:
            raise ValueError(f"`depth` must be one of {', '.join(map(str, self.depths))}. Received: depth={depth!r}")
        return self._networks[depth]

    def _run(self, image, depth):
        network = self._network(depth)
        encoded = network.input.encode(image)
        start = time.perf_counter()
        result = network.invoke(encoded)
        milliseconds = 1000 * (time.perf_counter() - start)
        if self._budget:
            self._budget.observe(depth, milliseconds)
        probabilities = softmax(network.output.decode(result)[0])
        return Prediction(depth, self.labels[probabilities.argmax()], probabilities, milliseconds)

    def _affordable(self, image, budget_ms):
        """The depth for a budget."""
        budget = self._measured()
        if 0 < budget_ms < budget.smallest:
            # The device may have been slow when the depths were measured, for instance while an app starts.
            for _ in range(WINDOW):
                self._run(image, self.depths[0])
        return budget.choose(budget_ms)

    def _measured(self):
        if self._budget is None:
            image = np.zeros((1, *self.image_shape), "float32")
            for _ in range(WARM_UP):
                for depth in self.depths:
                    self._run(image, depth)
            # In turns, so that a disturbance of the device meets all depths alike.
            runs = [[self._run(image, depth).milliseconds for depth in self.depths] for _ in range(TIMED)]
            self._budget = LatencyBudget(dict(zip(self.depths, map(statistics.median, zip(*runs)))))
        return self._budget


def softmax(logits):
    """Probabilities, along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
