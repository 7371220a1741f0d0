import json

import keras
import numpy as np
import pytest
from conftest import NO_TENSORFLOW, python

from ddnn_keras import DDNN, EKD

# Trains a saved model on saved arrays and prints each step's logs.
TRAINING = """
import json, sys
import keras, numpy as np
import ddnn_keras

folder = sys.argv[1]
arrays = np.load(f"{folder}/arrays.npz")
model = keras.saving.load_model(f"{folder}/model.keras")
steps = [model.evaluate(arrays["images"], arrays["labels"], batch_size=16, return_dict=True, verbose=0)]
for _ in range(3):
    history = model.fit(arrays["images"], arrays["labels"], batch_size=16, shuffle=False, verbose=0).history
    steps.append({name: values[0] for name, values in history.items()})
model.save(f"{folder}/{keras.backend.backend()}.keras")
print(json.dumps(steps))
"""


@pytest.mark.slow
def test_both_backends_have_the_same_losses_and_exchange_models(tmp_path):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (32, 16, 16, 1)), random.integers(0, 3, 32)
    np.savez(tmp_path / "arrays.npz", images=images.astype("uint8"), labels=labels)
    depths = {"a": (1, 1, 1, 1), "b": (1, 2, 1, 1)}
    model = DDNN(depths=depths, width=4, num_classes=3, input_shape=(16, 16, 1))
    optimizer = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    model.compile(optimizer, metrics=["accuracy"], distillation=EKD(temperature=2.0), jit_compile=False)
    model.save(tmp_path / "model.keras")

    backends = {"tensorflow": TRAINING, "jax": NO_TENSORFLOW + TRAINING}
    printed = [python(program, tmp_path, KERAS_BACKEND=backend) for backend, program in backends.items()]
    steps = [json.loads(text.splitlines()[-1]) for text in printed]
    for tensorflow_logs, jax_logs in zip(*steps, strict=True):
        assert set(tensorflow_logs) == set(jax_logs)
        assert "depth_a_attention_loss" in jax_logs
        for name, value in tensorflow_logs.items():
            assert jax_logs[name] == pytest.approx(value, abs=1e-4), name
    trained = [keras.saving.load_model(tmp_path / f"{backend}.keras") for backend in backends]
    for one, other in zip(*(each.get_weights() for each in trained)):
        np.testing.assert_allclose(one, other, atol=1e-3)
