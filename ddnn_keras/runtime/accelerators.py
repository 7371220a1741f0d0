"""What runs a `.tflite` file: LiteRT's Interpreter, or its CompiledModel on the CPU, a GPU or an NPU."""

import functools

import numpy as np

from ddnn_keras.runtime.interpreter import LiteModel, open_interpreter
from ddnn_keras.runtime.quiet import hush_the_end, hushed
from ddnn_keras.runtime.tflite_file import content_of

# What each of CompiledModel's accelerators needs beside LiteRT.
ACCELERATORS = {
    "cpu": "nothing",
    "gpu": "a GPU with its driver for Vulkan, Metal or Direct3D",
    "npu": "an NPU with its maker's package for LiteRT",
}
# Of a logit, relative to the largest. A GPU may compute in float16. With int8 weights, one gave other classes.
LARGEST_ERROR = 0.1


def lite_models(model, num_threads=1, accelerator=None):
    """All signatures of a file, a path or bytes: a dict from signatures to `LiteModel`s. See `Runtime`."""
    interpreter = open_interpreter(model, num_threads, allocate=accelerator is None)
    signatures = interpreter.get_signature_list()
    if accelerator is None:
        return {signature: LiteModel(interpreter, signature) for signature in signatures}
    with hushed():
        compiled = compile_model(content_of(model), num_threads, accelerator)
        networks = {signature: CompiledLiteModel(compiled, interpreter, signature) for signature in signatures}
    if accelerator != "cpu":
        for signature, reference in lite_models(model, num_threads).items():
            check_same_logits(networks[signature], reference, accelerator)
    return networks


def check_same_logits(network, reference, accelerator):
    """Raises a `ValueError` if an accelerator computes something else than the CPU, where the file was verified."""
    images = np.random.default_rng(0).integers(0, 256, network.input.shape)
    logits, expected = network(images), reference(images)
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    if not error <= LARGEST_ERROR:
        raise ValueError(
            "`accelerator` must give the CPU's logits. "
            f"Received: accelerator={accelerator!r}, whose logits of {network.signature} differ by {error:.0%}"
        )


def compile_model(content, num_threads, accelerator):
    """LiteRT's CompiledModel of a file's bytes, with every operator on one accelerator.

    Where an NPU is missing, LiteRT 2.3 would run on a CPU that is allowed beside it, and say nothing.
    """
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    if accelerator not in ACCELERATORS:
        allowed = ", ".join(ACCELERATORS)
        raise ValueError(f"`accelerator` must be None or one of {allowed}. Received: accelerator={accelerator!r}")
    options = Options(HardwareAccelerator[accelerator.upper()], CpuOptions(num_threads))
    try:
        return CompiledModel.from_buffer(content, environment=environment(), options=options)
    except RuntimeError as error:
        raise ValueError(
            "`accelerator` must be one that this device has, and that takes all of the file's operators. "
            f"Received: accelerator={accelerator!r}, which needs {ACCELERATORS[accelerator]}"
        ) from error


@functools.cache
def environment():
    """LiteRT's accelerators. They are looked for once."""
    from ai_edge_litert.environment import Environment

    hush_the_end()
    return Environment.create()


class CompiledLiteModel(LiteModel):
    """A `LiteModel` that runs in a CompiledModel. The interpreter only tells what its input and output are."""

    def __init__(self, compiled, interpreter, signature):
        super().__init__(interpreter, signature)
        self._compiled = compiled
        self._image = compiled.create_input_buffer_by_name(signature, self.input.name)
        self._logits = compiled.create_output_buffer_by_name(signature, self.output.name)
        self.invoke(np.zeros(self.input.shape, self.input.dtype))  # the first run logs, and allocates memory

    def invoke(self, image):
        """Runs the file once, see `LiteModel`."""
        shape, dtype = self.output.shape, np.dtype(self.output.dtype)
        self._image.write(image.reshape(-1).view("uint8"))  # as bytes: a buffer does not know int16
        self._compiled.run_by_name(self.signature, {self.input.name: self._image}, {self.output.name: self._logits})
        return self._logits.read(int(np.prod(shape)) * dtype.itemsize, np.uint8).view(dtype).reshape(shape)
