"""The shallow network answers where it is sure, and a deeper one where it is not."""

import itertools
import math

import numpy as np

from ddnn_keras.pixels import checked_labels
from ddnn_keras.runtime.runtime import Prediction, softmax

QUANTILES = 50  # how many thresholds of each depth are tried
MOST_BEFORE = 2  # how many depths are asked before the last one


class Cascade:
    """Asks depth after depth until one is sure.

    A depth is sure if its likeliest class has a probability of at least the depth's threshold. This follows
    "BranchyNet" (arXiv 1709.01686) and "Big/Little Deep Neural Network" (Park et al. 2015), with whole networks of one
    bundle in place of branches.

    Args:
        runtime: A `ddnn_keras.runtime.Runtime`.
        thresholds: A dict from depths to probabilities, or a list of such pairs, the shallowest depth first. The last
            threshold is 0, because the last depth always answers. Depths without a threshold are not asked.
            `calibrate` finds thresholds.
    """

    def __init__(self, runtime, thresholds):
        thresholds = dict(thresholds)
        known = [depth for depth in runtime.depths if depth in thresholds]
        if not thresholds or list(thresholds) != known or thresholds[known[-1]] != 0:
            raise ValueError(
                f"`thresholds` must go from depths among {', '.join(map(str, runtime.depths))}, in this order, to "
                f"probabilities, the last one 0. Received: thresholds={thresholds!r}"
            )
        self.runtime, self.thresholds = runtime, thresholds

    def predict(self, image):
        """Classifies an image.

        Args:
            image: Raw pixels 0..255, shape `(height, width, channels)`.

        Returns:
            The `ddnn_keras.runtime.Prediction` of the depth that was sure. Its `milliseconds` count all that ran.
        """
        milliseconds = 0
        for depth, threshold in self.thresholds.items():
            prediction = self.runtime.predict(image, depth=depth)
            milliseconds += prediction.milliseconds
            if prediction.confidence >= threshold:
                break
        return Prediction(prediction.depth, prediction.label, prediction.probabilities, milliseconds)

    def evaluate(self, images, labels):
        """Accuracy and mean cost on images.

        Args:
            images: Raw pixels 0..255, shape `(n, height, width, channels)`.
            labels: n class indices.

        Returns:
            The accuracy as a fraction, and the mean cost of an image in units of the deepest depth's latency.
        """
        return answers(self.runtime, [(images, labels)]).accuracy_and_cost(self.thresholds)

    @classmethod
    def calibrate(cls, runtime, images, labels, accuracy):
        """Finds the cheapest cascade that reaches an accuracy on validation data.

        It tries 50 thresholds of each depth, and every choice of up to three depths.

        Args:
            runtime: A `ddnn_keras.runtime.Runtime`.
            images: Raw pixels 0..255 of shape `(n, height, width, channels)` that were not used in training.
            labels: n class indices.
            accuracy: The accuracy to reach on these images, a fraction.

        Returns:
            A `Cascade`.

        Raises:
            ValueError: If none is found that reaches the accuracy.
        """
        return cls(runtime, answers(runtime, [(images, labels)]).cheapest_thresholds(accuracy))


def answers(runtime, batches):
    """The `Answers` for pairs of images and labels, which need not fit into memory together."""
    logits, labels = {depth: [] for depth in runtime.depths}, []
    for images, of_images in batches:
        images = np.asarray(images)
        for depth, known in logits.items():
            known.append(runtime.logits(images, depth))
        labels.append(checked_labels("`labels`", of_images, len(images), len(runtime.labels)))
    logits = {depth: np.concatenate(known) for depth, known in logits.items()}
    return Answers(logits, np.concatenate(labels), runtime.latencies)


class Answers:
    """The answers of every depth for every image, from which any thresholds can be judged."""

    def __init__(self, logits, labels, latencies):
        probabilities = {depth: softmax(values) for depth, values in logits.items()}
        # In double precision, as in `Prediction.confidence`. NumPy would round thresholds to float32 otherwise.
        self.confidences = {depth: values.max(-1).astype("float64") for depth, values in probabilities.items()}
        self.correct = {depth: values.argmax(-1) == labels for depth, values in probabilities.items()}
        self.costs = {depth: latencies[depth] / latencies[list(logits)[-1]] for depth in logits}

    def accuracy_and_cost(self, thresholds):
        """The accuracy of a cascade with these thresholds, and its mean cost in units of the deepest depth's."""
        num_images = len(next(iter(self.correct.values())))
        asked, right, cost = np.ones(num_images, bool), 0, 0
        for depth, threshold in thresholds.items():
            cost += asked.sum() * self.costs[depth]
            sure = asked & (self.confidences[depth] >= threshold)
            right += (self.correct[depth] & sure).sum()
            asked &= ~sure
        return right / num_images, cost / num_images

    def cheapest_thresholds(self, accuracy):
        """The thresholds of the cheapest cascade that reaches an accuracy, see `Cascade.calibrate`."""
        depths, spread = list(self.correct), np.linspace(0, 1, QUANTILES)
        levels = {depth: np.quantile(self.confidences[depth], spread).tolist() for depth in depths}
        candidates = (
            {**dict(zip(asked, thresholds)), deepest: 0.0}
            for count, deepest in enumerate(depths)
            for size in range(min(count, MOST_BEFORE) + 1)
            for asked in itertools.combinations(depths[:count], size)
            for thresholds in itertools.product(*map(levels.get, asked))
        )
        best, least, reachable = None, math.inf, 0.0
        for thresholds in candidates:
            found, cost = self.accuracy_and_cost(thresholds)
            reachable = max(reachable, found)
            if found >= accuracy and cost < least:
                best, least = thresholds, cost
        if best is None:
            raise ValueError(
                f"`accuracy` must be at most {math.floor(reachable * 1e4) / 1e4:.4f}, which the best cascade reaches "
                f"on these images. Received: accuracy={accuracy!r}"
            )
        return best
