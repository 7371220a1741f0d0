"""Depth-level dynamic neural networks with embedded knowledge distillation, for Keras 3."""

import importlib.util

__version__ = "0.1.0"

# A device that only runs .tflite files has no Keras, and `ddnn_keras.tflite.interpreter` needs none.
if importlib.util.find_spec("keras"):
    from ddnn_keras.distillation import EKD
    from ddnn_keras.model import DDNN

    __all__ = ["DDNN", "EKD"]
