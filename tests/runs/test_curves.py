import math

import numpy as np
from matplotlib.figure import Figure

from ddnn_keras.runs.curves import draw, names_ending


def history(**names):
    return [
        {"epoch": float(epoch), **{name: value / (epoch + 1) for name, value in names.items()}} for epoch in range(4)
    ]


def test_names():
    logged = history(loss=3.0, depth_18_loss=1.0, depth_18_kl_loss=0.5, val_depth_18_loss=1.0, depth_18_accuracy=0.1)
    assert names_ending("accuracy", logged) == ["depth_18_accuracy"]
    assert names_ending("loss", logged) == ["depth_18_loss", "depth_18_kl_loss"]
    assert names_ending("loss", history(loss=1.0, accuracy=0.5)) == ["loss"]
    logged = history(depth_14_accuracy=0.5, depth_20_accuracy=0.5, depth_8_accuracy=0.5)
    assert names_ending("accuracy", logged) == ["depth_8_accuracy", "depth_14_accuracy", "depth_20_accuracy"]
    logged = history(depth_tiny_accuracy=0.5, depth_small_accuracy=0.5)
    assert names_ending("accuracy", logged) == ["depth_tiny_accuracy", "depth_small_accuracy"]


def test_epochs_without_validation_do_not_hide_the_others():
    logged = history(depth_18_accuracy=0.4, val_depth_18_accuracy=0.5, depth_18_loss=1.0, val_depth_18_loss=1.0)
    for row in logged[::2]:
        row["val_depth_18_accuracy"] = math.nan
    axes = Figure().subplots()
    draw(axes, logged, ["depth_18_accuracy"])
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[2, 0.25], [4, 0.125]])
