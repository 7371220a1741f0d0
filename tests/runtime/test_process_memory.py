import numpy as np

from ddnn_keras.runtime.process_memory import memory_now, peak_memory


def test_memory_of_a_large_array_is_seen_while_it_is_there():
    before = memory_now()
    array = np.ones(2**25)
    assert memory_now() - before >= 0.9 * array.nbytes
    del array
    assert memory_now() < before + 2**27
    assert peak_memory() >= before + 0.9 * 2**28
