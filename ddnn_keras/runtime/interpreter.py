"""Runs a `.tflite` file on raw pixels."""

import dataclasses

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from ddnn_keras.pixels import checked_images
from ddnn_keras.runtime.quiet import hushed
from ddnn_keras.runtime.tflite_file import content_of, description


class LiteModel:
    """One signature of a `.tflite` file, by default its only one, as a function from raw pixels to logits.

    `model` is the path of the file, its bytes, or an `ai_edge_litert` interpreter.
    """

    def __init__(self, model, signature=None, num_threads=1):
        interpreter = model if isinstance(model, Interpreter) else open_interpreter(model, num_threads)
        known = list(interpreter.get_signature_list())
        self.signature = known[0] if signature is None and len(known) == 1 else signature
        if self.signature not in known:
            raise ValueError(
                f"`signature` must be one of the file's, {', '.join(map(repr, known))}. "
                f"Received: signature={signature!r}"
            )
        self._runner = interpreter.get_signature_runner(self.signature)
        self.input = _tensor(self._runner.get_input_details())
        self.output = _tensor(self._runner.get_output_details())

    def __call__(self, images):
        """Logits, a float32 array of shape `(n, classes)`, of n images of raw pixels 0..255."""
        images = checked_images("images", images, self.input.shape[1:])
        logits = [self.invoke(self.input.encode(image[np.newaxis])) for image in images]
        return self.output.decode(np.concatenate(logits))

    def invoke(self, image):
        """Runs the file once on an image from `input.encode`. `output.decode` reads the result."""
        return self._runner(**{self.input.name: image})[self.output.name]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of a file, and how real numbers are stored in it."""

    name: str
    shape: tuple
    dtype: str
    scale: float | None = None  # what one step of an integer dtype stands for
    zero_point: int | None = None  # the integer that stands for 0

    def encode(self, values):
        """Real numbers as this tensor stores them, saturated at the ends of its range."""
        if self.scale is None:
            return np.asarray(values, self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.rint(np.asarray(values) / self.scale) + self.zero_point
        return np.clip(steps, limits.min, limits.max).astype(self.dtype)

    def decode(self, values):
        """What this tensor stores, as float32 numbers."""
        values = np.asarray(values, "float32")
        return values if self.scale is None else (values - self.zero_point) * np.float32(self.scale)


def open_interpreter(model, num_threads, allocate=True):
    """An `ai_edge_litert` interpreter of a whole file. Without `allocate` it only tells what is in the file."""
    if not isinstance(num_threads, int) or num_threads < 1:
        raise ValueError(f"`num_threads` must be a positive integer. Received: num_threads={num_threads!r}")
    content_of(model)  # whose check must come first: a damaged file can end the process
    # A file is mapped, not read: on a small device its weights then take memory only while they are used.
    source = {"model_content": model} if isinstance(model, bytes) else {"model_path": str(model)}
    try:
        with hushed():  # of a line about XNNPACK
            interpreter = Interpreter(**source, num_threads=num_threads)
            if allocate:
                interpreter.allocate_tensors()  # fails if an operator is unknown
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            "`model` must be a whole TFLite file with operators that this interpreter has. "
            f"Received: {description(model)}. The interpreter says: {' '.join(str(error).split())}"
        ) from error
    if not interpreter.get_signature_list():
        raise ValueError(f"`model` must be a TFLite file with signatures. Received: {description(model)}, without any")
    return interpreter


def _tensor(details):
    ((name, tensor),) = details.items()
    scale, zero_point = tensor["quantization"]
    quantized = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    return Tensor(name, tuple(map(int, tensor["shape"])), np.dtype(tensor["dtype"]).name, **quantized)
