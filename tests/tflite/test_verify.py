import dataclasses
import math

import numpy as np
import pytest
from small_networks import converted, held_out, tiny_net, trained_net

from ddnn_keras.runtime.interpreter import LiteModel
from ddnn_keras.runtime.tflite_file import operators, parse, schema, serialize
from ddnn_keras.tflite.modes import MODES, Tolerance
from ddnn_keras.tflite.verify import Verification, VerificationError, compare, excesses, verify

NUMBERS = Verification(
    num_images=100,
    max_abs_error=0.0,
    p90_abs_error=0.0,
    max_abs_logit=4.0,
    argmax_agreement=1.0,
    clear_disagreement=0.0,
    accuracy=0.9,
    keras_accuracy=0.9,
    milliseconds_per_image=1.0,
    size_bytes=1,
)


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_every_mode_passes_and_another_network_fails(mode):
    images, labels = held_out()
    verification = verify(converted(mode.name), trained_net(), images, labels, mode)
    assert verification.num_images == 200
    assert verification.size_bytes == len(converted(mode.name))
    assert verification.accuracy > 0.9
    assert verification.keras_accuracy == np.mean(trained_net().predict(images, verbose=0).argmax(-1) == labels)
    assert 0 < verification.milliseconds_per_image < math.inf
    sentence = rf"^The {mode.name} file \(serving_default\) does not .* On 200 images .*clearly other classes is "
    with pytest.raises(VerificationError, match=sentence) as error:
        verify(converted(mode.name), tiny_net(), *held_out(), mode)
    assert ("When int8 costs accuracy" in str(error.value)) == (mode.name in ("int8", "int16x8"))


@pytest.mark.parametrize(
    ("change", "clause"),
    [
        ({}, None),
        ({"max_abs_error": 0.04}, None),
        ({"max_abs_error": 0.041}, "a logit differs by 0.041, allowed is 0.04"),
        ({"max_abs_error": 0.011, "max_abs_logit": 0.1}, "a logit differs by 0.011, allowed is 0.01"),
        ({"max_abs_error": float("nan")}, "a logit differs by nan, allowed is 0.04"),
        ({"p90_abs_error": 0.02}, None),
        ({"p90_abs_error": 0.021}, "a tenth of the images have a logit that differs by 0.021, allowed is 0.02"),
        ({"clear_disagreement": 0.09}, None),
        ({"clear_disagreement": 0.11}, "the fraction of clearly other classes is 0.11, allowed is 0.0947"),
        ({"accuracy": 0.84}, None),
        ({"accuracy": 0.82}, "the accuracy drops by 0.08, allowed is 0.0647"),
        ({"accuracy": 1.0}, None),
        ({"num_images": 1000, "accuracy": 0.84}, "the accuracy drops by 0.06, allowed is 0.0341"),
    ],
)
def test_bounds(change, clause):
    tolerance = Tolerance(p90_error=0.005, min_agreement=0.95, max_accuracy_drop=0.02, max_error=0.01)
    expected = [] if clause is None else [clause]
    assert excesses(dataclasses.replace(NUMBERS, **change), tolerance) == expected


def test_a_near_tie_is_no_disagreement():
    reference = np.array([[10.0, 9.9, 0.0], [10.0, 9.0, 0.0]])  # a near-tie is one of 0.2 or less
    numbers = compare(reference[:, [1, 0, 2]], reference, np.array([0, 0]))
    assert numbers["argmax_agreement"] == 0
    assert numbers["clear_disagreement"] == 0.5
    assert (numbers["accuracy"], numbers["keras_accuracy"]) == (0, 1)
    assert (numbers["max_abs_error"], numbers["max_abs_logit"]) == (pytest.approx(1.0), 10.0)


@pytest.mark.parametrize(("images_off", "clauses"), [(10, 0), (11, 1)])
def test_a_tenth_of_the_images_is_bounded_less_than_the_rest(images_off, clauses):
    # What float16 did to a MobileNetV2 after four epochs: 1.2 % of the largest logit on one image, 0.01 % on most.
    reference = np.tile([6.0, 0.0], (100, 1))
    errors = np.full((100, 1), 0.0006)
    errors[:images_off] = 0.2
    numbers = dataclasses.replace(NUMBERS, **compare(reference + errors, reference, np.zeros(100, int)))
    expected = ["a tenth of the images have a logit that differs by 0.2, allowed is 0.12"]
    assert excesses(numbers, MODES["float16"].tolerance) == expected[:clauses]


def test_a_float_file_is_no_int8_file():
    with pytest.raises(VerificationError, match=r"types FLOAT32; its input or output is FLOAT32\.$"):
        verify(converted("dynamic"), trained_net(), *held_out(), MODES["int8"])


def test_custom_operators_are_refused():
    tree = parse(converted("none"))
    code = tree.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "FlexErf"
    content = serialize(tree)
    assert "CUSTOM: FlexErf" in operators(content)
    with pytest.raises(ValueError, match=r"^`model` must be a whole TFLite file with operators .*FlexErf"):
        LiteModel(content)
    with pytest.raises(VerificationError, match=r"^The file is not a whole none file: it needs CUSTOM: FlexErf\.$"):
        verify(content, trained_net(), *held_out(2))
