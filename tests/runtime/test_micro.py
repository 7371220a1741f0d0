"""Single int8 files run in the microcontrollers' interpreter. (It crashes on files of several signatures, whoever made
them: it plans memory only for graphs that control flow calls.)"""

import numpy as np
import pytest
from small_networks import converted, held_out

from ddnn_keras.runtime.interpreter import LiteModel

# Its wheels are for Linux alone.
runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")


def test_an_int8_file_answers_as_on_a_phone():
    images, _ = held_out(50)
    lite = LiteModel(converted("int8"))
    micro = runtime.Interpreter.from_bytes(converted("int8"), arena_size=200_000)
    encoded = lite.input.encode(images)
    found = []
    for image in encoded:
        micro.set_input(image[np.newaxis], 0)
        micro.invoke()
        found.append(micro.get_output(0)[0].astype(int))
    expected = np.concatenate([lite.invoke(image[np.newaxis]) for image in encoded]).astype(int)
    # Its kernels round otherwise.
    assert np.max(np.abs(np.array(found) - expected)) <= 4
    assert np.mean(np.argmax(found, -1) == expected.argmax(-1)) >= 0.98
