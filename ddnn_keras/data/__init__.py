"""Images by name: what a model must know of a data set, and its training, validation and test pipelines."""

from ddnn_keras.data.image_data import ImageData
from ddnn_keras.data.loading import load

__all__ = ["ImageData", "load"]
