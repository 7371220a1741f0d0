import json
import re
import shutil

import numpy as np
import pytest

from ddnn_keras import data
from ddnn_keras.runs.checkpoint import load_network
from ddnn_keras.runtime import Runtime
from ddnn_keras.runtime.cascade import Cascade


@pytest.mark.slow
def test_thresholds_from_a_run_s_validation_images(copied_run, tmp_path, printed, mistake):
    run = copied_run()
    bundle = run / "tflite" / "bundle.tflite"
    assert "bundle.tflite" in mistake("export/calibrate_cascade.py", bundle)
    printed("export/to_tflite.py", "--model", run / "model.keras", "--depth", "all", "--bundle")
    calibrate = ["export/calibrate_cascade.py", bundle]
    output = printed(*calibrate)
    rows = {
        name: [float(share) for share in shares]
        for name, *shares in re.findall(r"│ (depth \d+|cascade) +│ +([\d.]+)% │ +([\d.]+)%", output)
    }
    # By default as accurate on validation images as the deepest.
    assert rows["cascade"][0] >= rows["depth 18"][0]
    images, model = data.load("digits", seed=0), load_network(run / "model.keras")
    for depth in (10, 18):
        for split, share in zip((images.validation, images.test), rows[f"depth {depth}"]):
            right = [model.subnet(depth)(pixels).numpy().argmax(-1) == labels for pixels, labels in split(500)]
            # Within what a class or two on the edge make.
            assert share == pytest.approx(100 * np.concatenate(right).mean(), abs=1.5)
    assert "--accuracy must be at most" in mistake(*calibrate, "--accuracy", 1.5)
    output = printed(*calibrate, "--accuracy", 0.2)
    thresholds = dict(json.loads((run / "tflite" / "bundle.cascade.json").read_text()))
    assert str(thresholds) in output
    Cascade(Runtime(bundle), thresholds)

    # A bundle that was moved away from its run.
    moved = shutil.copy(bundle, tmp_path)
    for flags in ([], ["--dataset", "digits"], ["--dataset", "digits", "--model", tmp_path / "model.keras"]):
        # Other seeds' validation images are images that the network was trained on.
        assert "--model must be the .keras file of" in mistake("export/calibrate_cascade.py", moved, *flags)
    printed("export/calibrate_cascade.py", moved, "--model", run / "model.keras", "--accuracy", 0.2)
    assert dict(json.loads((tmp_path / "bundle.cascade.json").read_text())).keys() == thresholds.keys()
