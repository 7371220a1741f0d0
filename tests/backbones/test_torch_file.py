"""Files of PyTorch without PyTorch: arrays, and one sentence for whatever asks for more."""

import os
import pickle

import numpy as np
import pytest

from ddnn_keras.backbones.published_weights import weights_file
from ddnn_keras.backbones.torch_file import MAGIC_NUMBER, read_torch_file


def written(path, tensors):
    """Writes a file of a pickle of tensors, with six numbers in the storage "0"."""
    header = map(pickle.dumps, (MAGIC_NUMBER, 1001, {"little_endian": True}))
    storage = np.int64(6).tobytes() + np.arange(6, dtype="float32").tobytes()
    path.write_bytes(b"".join([*header, tensors, pickle.dumps(["0"]), storage]))
    return path


def tensor(offset, shape, strides):
    """The pickle of a dict with the tensor "a", as PyTorch describes it, in plain text."""
    numbers = [b"".join(b"I%d\n" % number for number in group) for group in ([offset], shape, strides)]
    storage = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI6\nNtQ"
    return b"(dVa\nctorch._utils\n_rebuild_tensor_v2\n(%b%b(%bt(%btI00\nNtRs." % (storage, *numbers)


def test_a_tensor_is_a_view_of_its_storage(tmp_path):
    arrays = read_torch_file(written(tmp_path / "net.pth", tensor(1, (2, 2), (1, 3))))
    assert arrays.keys() == {"a"}
    np.testing.assert_array_equal(arrays["a"], [[1, 4], [2, 5]])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"), [(0, (7,), (1,)), (4, (2,), (2,)), (3, (2,), (-4,)), (-1, (1,), (1,))]
)
def test_a_tensor_beyond_its_storage(offset, shape, strides, tmp_path):
    path = written(tmp_path / "net.pth", tensor(offset, shape, strides))
    with pytest.raises(ValueError, match=r"net\.pth, which cannot be read: [^\n]*(strides|offset)[^\n]*$"):
        read_torch_file(path)


@pytest.mark.parametrize("place", ["first", "tensors"])
def test_code_is_refused_and_not_run(place, tmp_path):
    asks = b"cos\nmkdir\n(V%b\ntR." % os.fsencode(tmp_path / "made")  # whoever unpickles it to call a function
    pickle.loads(asks)
    (tmp_path / "made").rmdir()
    path = written(tmp_path / "net.pth", asks)
    if place == "first":
        path.write_bytes(asks + path.read_bytes())
    with pytest.raises(ValueError, match=r"net\.pth, which cannot be read: it asks for \w+\.mkdir, which is no"):
        read_torch_file(path)
    assert not (tmp_path / "made").exists()


OTHER_KINDS = [b"PK\3\4" * 99, b"\x89PNG" * 99, pickle.dumps("text")]


@pytest.mark.parametrize("content", [0, 10, 1000, 47_000, 60_000, -1, *OTHER_KINDS])
def test_a_file_that_is_cut_off_or_of_another_kind(content, tmp_path):
    whole, path = weights_file("efficientnet_lite0").read_bytes(), tmp_path / "net.pth"
    path.write_bytes(whole[:content] if isinstance(content, int) else content)
    sentence = r"^`source` must be a whole file of weights as PyTorch before 1\.6 wrote them\. Received: [^\n]*"
    with pytest.raises(ValueError, match=sentence + r"net\.pth, which cannot be read: [^\n]+$"):
        read_torch_file(path)
