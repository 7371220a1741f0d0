"""The formulae, against independent NumPy implementations in double precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.special import softmax

from ddnn_keras import EKD
from ddnn_keras.distillation import activation_attention, attention_loss, kl_divergence, standardized_attention
from ddnn_keras.training.sum_of_terms import CompiledDistillation


@pytest.fixture
def random():
    return np.random.default_rng(7)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_kl_divergence(random, temperature):
    teacher, student = random.normal(size=(2, 5, 7)) * 4
    p, q = (softmax(logits / temperature, axis=-1) for logits in (teacher, student))
    expected = temperature**2 * (p * np.log(p / q)).sum(-1)
    np.testing.assert_allclose(kl_divergence(teacher, student, temperature), expected, rtol=1e-4, atol=1e-6)


def test_kl_divergence_of_a_certain_teacher_is_finite():
    assert np.isfinite(ops.convert_to_numpy(kl_divergence([[200.0, -200.0]], [[-200.0, 200.0]]))).all()


@pytest.mark.parametrize(("dtype", "rounding"), [("bfloat16", 0.05), ("float16", 0.01)])
def test_standardized_attention_in_half_precision(random, dtype, rounding):
    """Positive features, as behind a ReLU, whose mean over positions is large beside what attention is made of."""
    features = ops.cast(np.abs(random.normal(size=(3, 8, 8, 512)) + random.normal(size=(3, 8, 8, 1))), dtype)
    found = standardized_attention(features)
    assert found.dtype == "float32"
    np.testing.assert_allclose(found, standardized_attention(ops.cast(features, "float32")), atol=rounding)


def test_standardized_difference_is_twice_one_minus_pearson(random):
    teacher, student = random.normal(size=(2, 3, 4, 5, 8))
    r = [np.corrcoef(one.sum(-1).ravel(), other.sum(-1).ravel())[0, 1] for one, other in zip(teacher, student)]
    np.testing.assert_allclose(attention_loss([teacher], [student]), 2 - 2 * np.array(r), rtol=1e-3)


def test_activation_attention(random):
    features = random.normal(size=(3, 4, 5, 6))
    squares = (features**2).mean(-1).reshape(3, -1)
    expected = squares / np.linalg.norm(squares, axis=1, keepdims=True)
    np.testing.assert_allclose(ops.reshape(activation_attention(features), (3, -1)), expected, rtol=1e-4)


def test_attention_loss_is_the_mean_over_stages_without_single_positions_and_tokens(random):
    teacher, student = random.normal(size=(2, 2, 4, 4, 3))
    single = random.normal(size=(2, 1, 1, 3))
    alone = attention_loss([teacher], [student])
    np.testing.assert_allclose(attention_loss([teacher, single], [student, -single]), alone)
    # What both have in common counts as zero.
    found = attention_loss([teacher, teacher, student], [teacher, student, teacher])
    np.testing.assert_allclose(found, 2 * alone / 3, rtol=1e-5)
    tokens = random.normal(size=(2, 9, 3))
    np.testing.assert_allclose(attention_loss([tokens, teacher], [-tokens, student]), alone)
    for feature in (single, tokens, tokens[:, 0]):
        with pytest.raises(ValueError, match="four positions"):
            attention_loss([feature], [feature])
    with pytest.raises(ValueError, match=r"same resolution at every depth\. Received: 4x4 and 1x1"):
        attention_loss([teacher], [single])


@pytest.mark.parametrize("attention", ["standardized", "activation"])
def test_attention_loss_is_the_mean_over_stages_of_any_size(random, attention):
    teacher, student = ([random.normal(size=(2, size, size, 3)) for size in (4, 2)] for _ in range(2))
    each = [attention_loss([t], [s], attention) for t, s in zip(teacher, student)]
    both = attention_loss(teacher, student, attention)
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, rtol=1e-5)


@pytest.mark.parametrize("attention", ["standardized", "activation"])
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_a_constant_map_gives_finite_losses_and_gradients(attention, value):
    student = tf.fill((1, 4, 4, 3), value)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = attention_loss([tf.fill((1, 4, 4, 3), value)], [student], attention)
    assert np.isfinite(loss.numpy()).all()
    assert np.isfinite(tape.gradient(loss, student).numpy()).all()


KEYS = ["depth_8", "depth_14", "depth_20"]


def test_terms_with_weight_zero_are_not_computed():
    students = [(key, name) for key in KEYS[:2] for name in ("kl_loss", "attention_loss")]
    assert list(EKD().terms(KEYS)) == students
    assert list(EKD(attention_weight=0).terms(KEYS)) == students[::2]
    assert EKD(kl_weight=0, attention_weight=0).terms(KEYS) == {}


@pytest.mark.parametrize(("teacher", "taught"), [("full-net", KEYS[:2]), ("mean", KEYS)])
def test_compiled_distillation_sums_the_weighted_terms_of_all_that_are_taught(random, teacher, taught):
    logits = {key: random.normal(size=(4, 10)).astype("float32") for key in KEYS}
    features = {key: [random.normal(size=(4, 4, 4, 3)).astype("float32")] for key in KEYS}
    weights = np.array([0.0, 1.0, 2.0, 3.0], "float32")
    teaching = np.mean([logits[key] for key in KEYS], axis=0) if teacher == "mean" else logits["depth_20"]
    expected = sum(0.5 * np.mean(weights * kl_divergence(teaching, logits[key], 2.0)) for key in taught)
    for key in KEYS[:2]:
        expected += 0.25 * np.mean(weights * attention_loss(features["depth_20"], features[key]))
    compiled = CompiledDistillation(EKD(temperature=2.0, kl_weight=0.5, attention_weight=0.25, teacher=teacher), KEYS)
    # In whatever order a model gives its outputs.
    for order in (KEYS, sorted(KEYS)):
        given = ({key: values[key] for key in order} for values in (logits, features))
        total = compiled(None, *given, {key: weights[:, None] for key in KEYS})
        assert float(total) == pytest.approx(float(expected), rel=1e-5)
    names = {metric.name for metric in compiled.metrics}
    assert names == {f"{key}_kl_loss" for key in taught} | {f"{key}_attention_loss" for key in KEYS[:2]}


@pytest.mark.parametrize(
    "argument",
    [
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": "2"},
        {"kl_weight": -1},
        {"kl_weight": float("inf")},
        {"attention_weight": -0.5},
        {"attention": "softmax"},
        {"teacher": "shallowest"},
        {"teacher": keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])},
        {"teacher": keras.Sequential([keras.Sequential([keras.layers.Softmax()])])},
    ],
)
def test_errors_name_the_argument_and_the_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError) as error:
        EKD(**argument)
    assert f"`{name}`" in str(error.value)
    assert f"{name}={value!r}" in str(error.value)
