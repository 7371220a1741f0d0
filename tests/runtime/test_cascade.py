"""The cascade: its thresholds are worth what they claim, and predictions follow them."""

import re

import numpy as np
import pytest
from small_networks import held_out, training

from ddnn_keras.runtime.cascade import Answers, Cascade, answers
from ddnn_keras.runtime.runtime import Runtime, softmax


@pytest.fixture(scope="module")
def runtime(bundle):
    return Runtime(bundle)


def test_predictions_are_those_of_the_depth_that_was_sure(runtime):
    images, labels = held_out(100)
    confidences = [runtime.predict(image, depth=8).confidence for image in images]
    threshold = float(np.median(confidences))
    cascade = Cascade(runtime, [[8, threshold], [14, 0.0]])  # as their file has them
    predictions = [cascade.predict(image) for image in images]
    assert [found.depth for found in predictions] == [8 if sure >= threshold else 14 for sure in confidences]
    for image, found in zip(images, predictions):
        assert found.label == runtime.predict(image, depth=found.depth).label
    right = np.mean([found.label == f"digit {label}" for found, label in zip(predictions, labels)])
    found_accuracy, cost = cascade.evaluate(images, labels)
    assert found_accuracy == right
    deep = np.mean([found.depth == 14 for found in predictions])
    shares = answers(runtime, [(images, labels)]).costs
    assert cost == pytest.approx(shares[8] + deep)


def test_answers_are_the_same_however_images_come(runtime):
    images, labels = held_out(60)
    at_once = answers(runtime, [(images, labels)])
    in_parts = answers(runtime, [(images[:25], labels[:25]), (images[25:], labels[25:])])
    for depth in runtime.depths:
        np.testing.assert_array_equal(in_parts.correct[depth], at_once.correct[depth])
        np.testing.assert_allclose(in_parts.confidences[depth], at_once.confidences[depth], rtol=1e-5)


def test_the_cheapest_thresholds_ask_the_deep_only_where_the_shallow_is_wrong():
    logits = {
        8: np.log([[0.9, 0.1], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]]),
        14: np.float64([[9, 0], [9, 0], [0, 9], [0, 9]]),
    }
    found = Answers(logits, np.array([0, 0, 1, 1]), {8: 0.5, 14: 2.0})
    thresholds = found.cheapest_thresholds(1.0)
    assert 0.5 < thresholds[8] <= 0.9
    assert found.accuracy_and_cost(thresholds) == (1.0, 0.75)
    assert found.cheapest_thresholds(0.5) == {8: 0.0}


def test_an_impossible_accuracy(runtime):
    images, labels = training()
    wrong = (labels[:70] + 1) % 10
    wrong[:15] = labels[:15]
    sentence = r"^`accuracy` must be at most 0\.\d+, which the best cascade reaches .* Received: acc"
    with pytest.raises(ValueError, match=sentence) as error:
        Cascade.calibrate(runtime, images[:70], wrong, accuracy=0.99)
    alone = float(re.search(r"at most (\S+), ", str(error.value))[1])
    cascade = Cascade.calibrate(runtime, images[:70], wrong, accuracy=alone)
    reached, cost = cascade.evaluate(images[:70], wrong)
    assert reached >= alone
    assert cost <= 1


def test_a_threshold_is_not_rounded_to_the_confidences_precision():
    """A prediction's confidence is compared in double precision, so the answers that calibrate must be too."""
    logits = {8: np.float32([[2, 0], [1, 0]]), 14: np.float32([[9, 0], [9, 0]])}
    found = Answers(logits, np.array([0, 0]), {8: 1.0, 14: 4.0})
    confidence = float(softmax(logits[8][0]).max())
    above = np.nextafter(confidence, 1)
    assert np.float32(above) == np.float32(confidence)
    assert found.accuracy_and_cost({8: confidence, 14: 0.0}) == (1.0, (0.25 + 1.25) / 2)
    assert found.accuracy_and_cost({8: float(above), 14: 0.0}) == (1.0, 1.25)


def test_labels_are_one_number_for_each_image(runtime):
    images, labels = held_out(20)
    with pytest.raises(ValueError, match=r"^`labels` must be 20 integers, one for each image\. Received: .* \(20, 1\)"):
        Cascade(runtime, {8: 0.0}).evaluate(images, labels[:, np.newaxis])
    with pytest.raises(ValueError, match=r"^`images` must .*at least 1"):
        Cascade(runtime, {8: 0.0}).evaluate(images[:0], labels[:0])


@pytest.mark.parametrize("thresholds", [{}, {8: 0.5}, {14: 0.5, 8: 0.0}, {8: 0.5, 50: 0.0}, {"8": 0.5, "14": 0.0}])
def test_thresholds_that_are_none(runtime, thresholds):
    with pytest.raises(ValueError, match=r"^`thresholds` must go from depths among 8, 14, in this order, to prob"):
        Cascade(runtime, thresholds)
