"""Depth-level dynamic neural networks with embedded knowledge distillation, for Keras 3."""

from ddnn_keras.distillation import EKD
from ddnn_keras.model import DDNN

__all__ = ["DDNN", "EKD"]
__version__ = "0.1.0"
