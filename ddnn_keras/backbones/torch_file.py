"""Arrays from a file that PyTorch before 1.6 wrote, without PyTorch and without running code that the file asks for.

Such a file is a row of pickles: a magic number, the format's version, facts about the machine, a dict of descriptions
of tensors, and the names of the storages. The storages follow, each as its length and its numbers.
"""

import collections
import pickle

import numpy as np

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, text, dicts and descriptions of tensors, and refuses everything else."""

    def find_class(self, module, name):
        """Gives data, or a function that makes data, for each of the few names that a file of weights has."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new one each time, so that no file can change it for the next.
            return lambda *description: description
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no part of weights")

    def persistent_load(self, pid):
        """The name and the dtype of a storage."""
        _, dtype, name, *_ = pid
        return name, dtype


def read_torch_file(path):
    """Reads a file's float32 and int64 tensors: a dict from names to arrays."""
    with open(path, "rb") as file:
        try:
            return arrays(file)
        # A broken pickle can raise any of them.
        except Exception as error:
            raise ValueError(
                f"`source` must be a whole file of weights as PyTorch before 1.6 wrote them. Received: {path}, "
                f"which cannot be read: {error}"
            ) from None


def arrays(file):
    """The arrays of an open file."""
    magic_number, _, _ = (PlainUnpickler(file).load() for _ in range(3))
    if magic_number != MAGIC_NUMBER:
        raise ValueError("it does not begin with PyTorch's magic number")
    tensors, names = (PlainUnpickler(file).load() for _ in range(2))
    dtypes = dict(storage for storage, *_ in tensors.values())
    content, position, storages = file.read(), 0, {}
    for name in names:
        (length,) = np.frombuffer(content, "<i8", 1, position)
        storages[name] = np.frombuffer(content, dtypes[name], length, position + 8)
        position += 8 + storages[name].nbytes
    found = {}
    for name, ((storage, dtype), offset, shape, strides, *_) in tensors.items():
        size = np.dtype(dtype).itemsize
        # NumPy refuses what reaches beyond the storage.
        strides = [stride * size for stride in strides]
        found[name] = np.ndarray(shape, dtype, storages[storage], offset * size, strides)
    return found
