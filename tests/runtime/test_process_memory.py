import subprocess
import sys

import numpy as np
import pytest

from ddnn_keras.runtime.process_memory import memory_now, peak_memory

REPEATED = """
import gc
import keras
import numpy as np
from ddnn_keras import DDNN, EKD
from ddnn_keras.runtime.process_memory import memory_now

model = DDNN(depths=(8, 14), backbone="resnet_cifar", width=4, input_shape=(8, 8, 1))
model.compile("sgd", metrics=["accuracy"], distillation=EKD(), jit_compile=False)
images, labels = np.full((4, 8, 8, 1), 255, "uint8"), np.zeros(4, "int32")
for number in range(201):
    model.fit(images, labels, verbose=0)
    model.evaluate(images, labels, verbose=0)
    model.subnet(8)(images)
    model.calibrate(images, (1, 2, 1))
    if number in (100, 200):
        gc.collect()
        print(memory_now())
"""


def test_memory_of_a_large_array_is_seen_while_it_is_there():
    before = memory_now()
    array = np.ones(2**25)
    assert memory_now() - before >= 0.9 * array.nbytes
    del array
    assert memory_now() < before + 2**27
    assert peak_memory() >= before + 0.9 * 2**28


@pytest.mark.slow
def test_training_evaluation_sub_nets_and_calibration_do_not_grow_memory():
    finished = subprocess.run([sys.executable, "-c", REPEATED], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    half, end = map(int, finished.stdout.split())
    # A hundred sub-nets that are not given back would be 4.5 MiB.
    assert end - half < 3 * 2**20, f"{(end - half) / 2**20:.1f} MiB in 100 calls"
