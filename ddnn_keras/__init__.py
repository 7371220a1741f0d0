"""Depth-level dynamic neural networks with embedded knowledge distillation, for Keras 3."""

import functools
import importlib
import importlib.abc
import sys

__version__ = "0.1.0"
__all__ = ["DDNN", "EKD", "load_pretrained"]

_MODULES = {"DDNN": "ddnn_keras.model", "EKD": "ddnn_keras.distillation", "load_pretrained": "ddnn_keras.pretrained"}


def __getattr__(name):
    # Keras takes seconds to import. Devices and `--help` do without it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"ddnn_keras.{name} needs {error.name}: pip install 'ddnn_keras[tensorflow]' or '[jax]'."
        ) from error


class _RegistersClasses(importlib.abc.MetaPathFinder):
    """Imports `ddnn_keras.model` once Keras is there, so that `keras.saving.load_model` knows this library's classes.

    Not before the outermost import of Keras or of a module of this library has ended, which may be one that
    `ddnn_keras.model` imports itself.
    """

    def __init__(self):
        self._running = 0

    def find_spec(self, name, path=None, target=None):
        """Finds what the other finders find, and watches over it."""
        if name != "keras" and not name.startswith(f"{__name__}."):
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec and spec.loader:
            spec.loader.exec_module = functools.partial(self._execute, spec.loader.exec_module)
        return spec

    def _execute(self, execute, module):
        self._running += 1
        try:
            execute(module)
        finally:
            self._running -= 1
        if not self._running and sys.modules.get("keras") and self in sys.meta_path:
            sys.meta_path.remove(self)
            importlib.import_module("ddnn_keras.model")


if sys.modules.get("keras"):
    importlib.import_module("ddnn_keras.model")
else:
    sys.meta_path.insert(0, _RegistersClasses())
