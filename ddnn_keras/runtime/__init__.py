"""Runs `.tflite` files on a device. NumPy and ai_edge_litert are all that it needs."""

import importlib

__all__ = ["Cascade", "Prediction", "Runtime"]

_MODULES = {"Cascade": "cascade", "Prediction": "runtime", "Runtime": "runtime"}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
