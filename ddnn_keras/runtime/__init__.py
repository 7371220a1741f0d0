"""Runs `.tflite` files on a device. NumPy and ai_edge_litert are all that it needs."""

from ddnn_keras.runtime.cascade import Cascade
from ddnn_keras.runtime.runtime import Prediction, Runtime

__all__ = ["Cascade", "Prediction", "Runtime"]
