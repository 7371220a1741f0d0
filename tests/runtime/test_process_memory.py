import numpy as np

from ddnn_keras.runtime.benchmark import process_memory


def test_memory_of_a_large_array_is_seen_while_it_is_there():
    before = process_memory()
    array = np.ones(2**25)
    assert process_memory() - before >= 0.9 * array.nbytes
    del array
    assert process_memory() < before + 2**27
    assert process_memory(peak=True) >= before + 0.9 * 2**28
