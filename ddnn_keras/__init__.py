"""Depth-level dynamic neural networks with embedded knowledge distillation, for Keras 3."""

__version__ = "0.1.0"
__all__ = ["DDNN", "EKD", "SGD", "load_pretrained"]

# Not when they are first used: `keras.saving.load_model` finds only classes that `import ddnn_keras` has registered.
try:
    from ddnn_keras.distillation import EKD
    from ddnn_keras.model import DDNN
    from ddnn_keras.pretrained import load_pretrained
    from ddnn_keras.sgd import SGD
except ModuleNotFoundError as error:
    # A device that only runs .tflite files has no Keras, or no backend; ddnn_keras.tflite.interpreter needs none.
    _missing = error.name

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        raise ImportError(f"ddnn_keras.{name} needs {_missing}: pip install 'ddnn_keras[tensorflow]' or '[jax]'.")
